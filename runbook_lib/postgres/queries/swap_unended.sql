-- Which sessions in this database may this role not end? A swap by name waits for them: a superuser's session only a superuser
-- ends, whoever has pg_signal_backend the others. What the login may, a session may that acts as another role.
SELECT a.pid, a.usename::text AS "user", a.application_name AS application, r.rolsuper AS superuser
FROM pg_stat_activity AS a
JOIN pg_roles AS r ON r.oid = a.usesysid
CROSS JOIN (SELECT bool_or(rolsuper) AS super FROM pg_roles WHERE rolname IN (current_user, session_user)) AS me
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND coalesce(a.backend_type NOT IN ('autovacuum worker', 'parallel worker'), true)
  AND NOT me.super
  AND (r.rolsuper OR NOT (pg_has_role(current_user, a.usesysid, 'USAGE') OR pg_has_role(session_user, a.usesysid, 'USAGE')
                          OR pg_has_role(current_user, 'pg_signal_backend', 'USAGE') OR pg_has_role(session_user, 'pg_signal_backend', 'USAGE')))
ORDER BY 1;
