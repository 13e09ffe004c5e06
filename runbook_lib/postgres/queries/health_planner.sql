-- Which tables with rows has the planner no statistics of? `readable` is whether this role would see them.
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid) AS readable
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.reltuples <> 0  -- 0 is what ANALYZE has counted, -1 that it never did
  AND CASE c.relkind WHEN 'p' THEN EXISTS (SELECT FROM pg_partition_tree(c.oid) AS p WHERE p.isleaf AND pg_relation_size(p.relid) > 0)
                     ELSE pg_relation_size(c.oid) > 0 END
  AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget IS DISTINCT FROM 0)
  AND NOT EXISTS (SELECT FROM pg_stats AS s WHERE s.schemaname = n.nspname AND s.tablename = c.relname)
ORDER BY 1;
