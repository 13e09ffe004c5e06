-- Which process of the server serves this session, and since when?
SELECT a.pid, extract(epoch FROM a.backend_start)::float8 AS started
FROM pg_stat_activity AS a
WHERE a.pid = pg_backend_pid();
