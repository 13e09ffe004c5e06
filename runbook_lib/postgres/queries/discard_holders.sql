-- What holds on to a database, so that it cannot be dropped: sessions, prepared transactions, slots in use? (Subscriptions: subscriptions.sql.)
SELECT 'prepared transaction' AS kind, p.gid AS name, p.owner::text AS owner, NULL::int AS pid
FROM pg_prepared_xacts AS p WHERE p.database = %(name)s
UNION ALL
SELECT 'replication slot', r.slot_name::text, 'session ' || r.active_pid, r.active_pid
FROM pg_replication_slots AS r WHERE r.database = %(name)s AND r.active
UNION ALL
SELECT 'session', format('%%s (%%s)', a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'hidden')), coalesce(a.usename::text, 'the server'), a.pid
FROM pg_stat_activity AS a WHERE a.datname = %(name)s AND a.pid <> pg_backend_pid()
ORDER BY 1, 2;
