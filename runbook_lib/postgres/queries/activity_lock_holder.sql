-- Who holds advisory locks in this database, from where, since when?
SELECT l.classid::bigint AS class, l.objid::bigint AS key, a.application_name AS application, coalesce(host(a.client_addr), 'local') AS client,
       a.backend_start AS since, a.pid
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());
