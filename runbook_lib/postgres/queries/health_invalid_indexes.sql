-- Which indexes can the planner not use? An interrupted CREATE INDEX CONCURRENTLY leaves one; one that is being built
-- right now looks the same.
SELECT format('%I.%I', n.nspname, x.relname) AS name, format('%I.%I', tn.nspname, c.relname) AS "table",
       pg_get_indexdef(i.indexrelid) AS definition, pg_relation_size(i.indexrelid) AS bytes,
       (SELECT b.pid FROM pg_stat_progress_create_index AS b WHERE b.index_relid = i.indexrelid LIMIT 1) AS built_by
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = x.relnamespace
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_namespace AS tn ON tn.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND n.nspname !~ '^pg_(temp|toast_temp)'
ORDER BY 1;
