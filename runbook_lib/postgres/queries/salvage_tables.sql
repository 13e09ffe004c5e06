-- Which tables will be dropped, with their partitions, and which of their columns hold what cannot be computed again?
-- SET runbook.tables = '["public.\"Visit\""]' names them.
WITH RECURSIVE dropped AS (
  SELECT c.oid
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'f')
    AND format('%I.%I', n.nspname, c.relname) IN (SELECT json_array_elements_text(current_setting('runbook.tables')::json))
  UNION
  SELECT i.inhrelid
  FROM dropped AS d
  JOIN pg_inherits AS i ON i.inhparent = d.oid
  JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT format('%I.%I', n.nspname, c.relname) AS name, quote_ident(n.nspname) AS schema, c.relkind = 'p' AS partitioned, c.relkind = 'f' AS "foreign",
       CASE WHEN c.relispartition THEN format('ALTER TABLE %s ATTACH PARTITION %I.%I %s', i.inhparent::regclass, n.nspname, c.relname,
                                              pg_get_expr(c.relpartbound, c.oid)) END AS attach,
       ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum) AS columns
FROM dropped AS d
JOIN pg_class AS c ON c.oid = d.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND c.relispartition
ORDER BY 1;
