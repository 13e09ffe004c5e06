-- How much do the temporary files of statements at work take in each tablespace (bytes)?
SELECT s.spcname::text AS name, coalesce(sum(t.size), 0)::bigint AS bytes, count(t.name) AS files
FROM pg_tablespace AS s
LEFT JOIN LATERAL pg_ls_tmpdir(s.oid) AS t ON true
WHERE s.spcname <> 'pg_global'
GROUP BY s.spcname
HAVING count(t.name) > 0
ORDER BY 2 DESC;
