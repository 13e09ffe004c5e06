-- Which locks on relations of this database does this very session hold?
SELECT l.relation::bigint AS oid, l.mode
FROM pg_locks AS l
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.mode <> 'SIReadLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());
