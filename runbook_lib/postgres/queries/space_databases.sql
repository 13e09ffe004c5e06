-- Which databases take most (bytes), and which of them did a swap or a killed run of the runbook leave?
SELECT d.datname::text AS name, pg_database_size(d.oid) AS bytes,
       CASE WHEN shobj_description(d.oid, 'pg_database') LIKE 'runbook%' THEN pg_database_size(d.oid) END AS frees
FROM pg_database AS d
WHERE has_database_privilege(d.oid, 'CONNECT')
ORDER BY 2 DESC
LIMIT 10;
