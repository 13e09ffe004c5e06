-- Which prepared transactions of this database hold locks, and since when (seconds)?
SELECT p.gid AS name, p.owner::text AS owner, extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS age_s
FROM pg_prepared_xacts AS p
WHERE p.database = current_database()
ORDER BY p.prepared;
