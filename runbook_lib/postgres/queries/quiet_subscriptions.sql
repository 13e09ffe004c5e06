-- Which subscriptions of this database are enabled, and bring changes of another server in? `pid` is the apply worker's.
SELECT s.subname AS name, w.pid
FROM pg_subscription AS s LEFT JOIN pg_stat_subscription AS w ON w.subid = s.oid AND w.relid IS NULL
WHERE s.subenabled AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1;
