-- Which settings belong to this database (or to a role in it), and which of the server's bear on a migration?
-- A setting with a dot in its name is the application's own and may be a secret: it is shown as the start of a digest.
SELECT CASE WHEN r.rolname IS NULL THEN 'database: ' ELSE format('database, role %I: ', r.rolname) END || split_part(item, '=', 1) AS name,
       CASE WHEN split_part(item, '=', 1) LIKE '%.%' THEN 'hidden, md5 ' || left(md5(substr(item, strpos(item, '=') + 1)), 8)
            ELSE substr(item, strpos(item, '=') + 1) END AS value
FROM pg_db_role_setting AS s
CROSS JOIN LATERAL unnest(s.setconfig) AS item
LEFT JOIN pg_roles AS r ON r.oid = s.setrole
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'server: ' || name, coalesce(setting || coalesce(' ' || unit, ''), '')
FROM pg_settings
WHERE name IN ('server_encoding', 'lc_collate', 'lc_ctype', 'max_connections', 'max_locks_per_transaction', 'max_prepared_transactions',
               'shared_buffers', 'work_mem', 'maintenance_work_mem', 'wal_level', 'max_wal_size', 'archive_mode', 'fsync',
               'synchronous_commit', 'full_page_writes', 'autovacuum', 'default_transaction_isolation', 'lock_timeout',
               'statement_timeout', 'deadlock_timeout', 'shared_preload_libraries')
ORDER BY 1;
