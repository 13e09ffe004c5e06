-- How much does each tablespace hold (bytes)?
SELECT spcname::text AS name, pg_tablespace_size(oid) AS bytes FROM pg_tablespace ORDER BY 2 DESC;
