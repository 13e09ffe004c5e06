-- Which transactions, not finished in the snapshot %(then)s, made columns, constraints or labels of enums that are here now?
-- Not pg_class: TRUNCATE and REINDEX renew its rows. Not what is temporary.
WITH made AS (
  SELECT a.xmin::text::bigint AS x FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE a.attnum > 0 AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  UNION
  SELECT o.xmin::text::bigint FROM pg_constraint AS o JOIN pg_namespace AS n ON n.oid = o.connamespace WHERE n.nspname !~ '^pg_'
  UNION
  SELECT e.xmin::text::bigint FROM pg_enum AS e
), counted AS (
  SELECT CASE WHEN top - mod(top, 4294967296) + x > top THEN top - mod(top, 4294967296) + x - 4294967296 ELSE top - mod(top, 4294967296) + x END AS xid
  FROM made, (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS top) AS t
  WHERE x >= 3
)
SELECT xid FROM counted
WHERE xid >= 3 AND NOT pg_visible_in_snapshot(xid::text::xid8, %(then)s::pg_snapshot)
ORDER BY 1;
