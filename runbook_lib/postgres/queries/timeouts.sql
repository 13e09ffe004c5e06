-- Which timeouts are in force in this session (0 is none), where does each come from, and what do roles and databases
-- give to others?
SELECT name, setting || coalesce(' ' || unit, '') AS value, 'this session: ' || source AS level
FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout',
               'client_connection_check_interval', 'deadlock_timeout', 'tcp_user_timeout')
UNION ALL
SELECT split_part(item, '=', 1), split_part(item, '=', 2),
       CASE WHEN r.rolname IS NULL THEN 'all sessions of the database' WHEN s.setdatabase = 0 THEN format('the role %I, everywhere', r.rolname)
            ELSE format('the role %I in this database', r.rolname) END
FROM pg_db_role_setting AS s
CROSS JOIN LATERAL unnest(s.setconfig) AS item
LEFT JOIN pg_roles AS r ON r.oid = s.setrole
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND split_part(item, '=', 1) LIKE '%timeout%'
ORDER BY 1, 3;
