-- Which materialized views are there, are they filled, and which tables hold the rows that they are made of?
-- `tables` are those behind other views, and partitions, too. `functions` are not PostgreSQL's own: what they read is not known.
-- `varies` is what can make the query's result another one although no row has changed: the time, the session, the order of rows.
-- `values` are the view's columns as they are compared: floats by 15 digits, for a sum of them depends on the order of rows.
WITH RECURSIVE edges AS (
  SELECT r.ev_class AS above, d.refobjid AS below
  FROM pg_rewrite AS r
  JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
  WHERE r.ev_type = '1' AND d.refobjid <> r.ev_class
  UNION
  SELECT h.inhparent, h.inhrelid FROM pg_inherits AS h
), behind AS (
  SELECT c.oid AS view, c.oid AS relation FROM pg_class AS c WHERE c.relkind = 'm'
  UNION
  SELECT b.view, e.below FROM behind AS b JOIN edges AS e ON e.above = b.relation
), actions AS (
  SELECT b.view, r.ev_action::text AS action FROM behind AS b JOIN pg_rewrite AS r ON r.ev_class = b.relation AND r.ev_type = '1'
), called AS (
  SELECT a.view, p.oid, format('%I.%I', n.nspname, p.proname) AS name,
         p.provolatile <> 'i' OR p.proname ~ '^(array|string|jsonb?|jsonb?_object|xml|range|range_intersect)_?agg' AS varies
  FROM actions AS a
  CROSS JOIN LATERAL regexp_matches(a.action, ':(funcid|opno|aggfnoid) (\d+)', 'g') AS m
  LEFT JOIN pg_operator AS o ON m[1] = 'opno' AND o.oid = m[2]::oid
  JOIN pg_proc AS p ON p.oid = coalesce(o.oprcode::oid, m[2]::oid)
  JOIN pg_namespace AS n ON n.oid = p.pronamespace
)
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relispopulated AS populated, quote_ident(pg_get_userbyid(c.relowner)) AS owner,
       rtrim(pg_get_viewdef(c.oid), '; ') AS definition,
       ARRAY(SELECT format('%I.%I', tn.nspname, t.relname) FROM behind AS b JOIN pg_class AS t ON t.oid = b.relation AND t.relkind IN ('r', 'f')
             JOIN pg_namespace AS tn ON tn.oid = t.relnamespace WHERE b.view = c.oid ORDER BY 1) AS tables,
       ARRAY(SELECT DISTINCT k.name FROM called AS k WHERE k.view = c.oid AND k.oid >= 16384 ORDER BY 1) AS functions,
       ARRAY(SELECT DISTINCT k.name FROM called AS k WHERE k.view = c.oid AND k.varies
             UNION SELECT 'the current time or user' FROM actions AS a WHERE a.view = c.oid AND a.action ~ '\{SQLVALUEFUNCTION'
             UNION SELECT 'LIMIT or DISTINCT ON' FROM actions AS a WHERE a.view = c.oid AND a.action ~ ':limitCount \{|:hasDistinctOn true'
             UNION SELECT 'window functions' FROM actions AS a WHERE a.view = c.oid AND a.action ~ '\{WINDOWFUNC' ORDER BY 1) AS varies,
       ARRAY(SELECT CASE WHEN a.atttypid IN ('float4'::regtype, 'float8'::regtype) THEN format('v.%I::numeric', a.attname) ELSE format('v.%I', a.attname) END
             FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS "values"
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND n.nspname !~ '^pg_'
ORDER BY 1;
