-- How many connections does each application hold in this database, in which state?
SELECT a.application_name AS application, coalesce(a.state, 'unknown') AS state, count(*) AS connections
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.backend_type = 'client backend'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2;
