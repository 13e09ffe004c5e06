-- Who holds advisory locks, in which database, from where, since when? Locks of one number and of two are told apart by "numbers".
SELECT l.classid::bigint AS class, l.objid::bigint AS key, l.objsubid AS numbers, a.datname::text AS database, a.application_name AS application,
       coalesce(host(a.client_addr), 'local') AS client, a.backend_start AS since, a.pid
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted
ORDER BY a.backend_start;
