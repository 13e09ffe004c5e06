-- Which statements were sent to this database most often? With $1, $2, … for constants; only to be planned, never shown.
-- The extension pg_stat_statements must be installed in this database.
SELECT s.queryid::text AS id, s.query AS statement
FROM pg_stat_statements AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.query ~* '^[\s(]*(select|insert|update|delete|merge|with)\M'
ORDER BY s.calls DESC
LIMIT 200;
