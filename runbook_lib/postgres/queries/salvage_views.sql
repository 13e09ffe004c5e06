-- Which views stand on the columns and tables that will be dropped, those that others stand on first?
-- SET runbook.columns, runbook.tables, runbook.views (JSON lists of names) name what is dropped.
WITH RECURSIVE dropped AS (
  SELECT c.oid, c.relkind, a.attnum::int AS number, format('%I.%I', n.nspname, c.relname) AS name, a.attname
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relkind IN ('r', 'p', 'f')
), views AS (
  SELECT c.oid, 1 AS depth
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('v', 'm')
    AND format('%I.%I', n.nspname, c.relname) IN (SELECT json_array_elements_text(current_setting('runbook.views')::json))
  UNION
  SELECT r.ev_class, 1
  FROM dropped AS x
  JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = x.oid AND d.refobjsubid = x.number
  JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  WHERE x.name IN (SELECT json_array_elements_text(current_setting('runbook.tables')::json))
     OR x.name || '.' || quote_ident(x.attname) IN (SELECT json_array_elements_text(current_setting('runbook.columns')::json))
  UNION
  SELECT r.ev_class, v.depth + 1
  FROM views AS v
  JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
  JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> v.oid
)
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM views AS v
JOIN pg_class AS c ON c.oid = v.oid AND c.relkind IN ('v', 'm')
JOIN pg_namespace AS n ON n.oid = c.relnamespace
GROUP BY c.oid, n.nspname, c.relname
ORDER BY max(v.depth), 1;
