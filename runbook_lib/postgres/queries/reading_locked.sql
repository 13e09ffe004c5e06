-- Which tables and indexes of this database does somebody hold so that nobody else may even read them?
SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_locks AS l
JOIN pg_class AS c ON c.oid = l.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND n.nspname !~ '^pg_'
ORDER BY 1;
