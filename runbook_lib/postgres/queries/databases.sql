-- Which databases has this server, whose are they, how large (bytes), can one connect, and is the session alive that a
-- comment of the runbook names as the maker? (The start of another role's session may be hidden: then its number counts.)
SELECT d.datname::text AS name, d.oid::bigint AS oid, pg_get_userbyid(d.datdba)::text AS owner, d.datallowconn AS open,
       coalesce(c.comment, '') AS comment,
       EXISTS (SELECT FROM pg_stat_activity AS a
               WHERE c.comment LIKE 'runbook%' AND a.pid::text = substring(c.comment FROM ' session (\d+)/')
                 AND (a.backend_start IS NULL
                      OR extract(epoch FROM a.backend_start)::text = substring(c.comment FROM ' session \d+/([\d.]+)'))) AS maker_alive,
       d.datconnlimit AS connection_limit,
       CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END AS bytes
FROM pg_database AS d
CROSS JOIN LATERAL (SELECT shobj_description(d.oid, 'pg_database') AS comment) AS c
WHERE NOT d.datistemplate
ORDER BY 1;
