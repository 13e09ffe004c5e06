-- Which session is this? Its number and its start, because numbers are used again.
SELECT format('session %s/%s', pid, extract(epoch FROM backend_start)) AS signature
FROM pg_stat_activity
WHERE pid = pg_backend_pid();
