-- Who holds the advisory lock that Prisma's schema engine takes while it migrates this database (prisma-engines, 72707369)?
SELECT a.pid, a.application_name AS application, a.backend_start AT TIME ZONE 'UTC' AS since
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid = 0 AND l.objid = 72707369 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1;
