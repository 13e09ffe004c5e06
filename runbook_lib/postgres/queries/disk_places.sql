-- Where does the server keep this database's tables? (:data is the data directory.)
SELECT 'data directory' AS place, %(data)s::text AS path
UNION ALL
SELECT 'tablespace ' || quote_ident(t.spcname), pg_tablespace_location(t.oid)
FROM pg_tablespace AS t
WHERE pg_tablespace_location(t.oid) <> ''
  AND t.oid IN (SELECT dattablespace FROM pg_database WHERE datname = current_database() UNION SELECT reltablespace FROM pg_class)
ORDER BY 1;
