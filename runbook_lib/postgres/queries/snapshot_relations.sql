-- Which tables hold rows, how large are they on disk (bytes), and which columns have they?
-- `estimated_rows` is the planner's, -1 where it has none.
-- `type` is a column's type in pg_type with domains resolved, empty for one that is not PostgreSQL's own;
-- a virtual generated column holds nothing and is left out. `labels` are those of an enum, empty for any other type.
WITH RECURSIVE size AS MATERIALIZED (
  SELECT c.oid, pg_relation_size(c.oid) AS bytes FROM pg_class AS c WHERE c.relkind IN ('r', 'm', 'i', 't')
), domain AS (
  SELECT t.oid AS type, t.typbasetype AS base FROM pg_type AS t WHERE t.typtype = 'd'
  UNION ALL
  SELECT d.type, t.typbasetype FROM domain AS d JOIN pg_type AS t ON t.oid = d.base WHERE t.typtype = 'd'
), base AS (
  SELECT t.oid AS type, coalesce(b.oid, t.oid) AS base
  FROM pg_type AS t
  LEFT JOIN (domain AS d JOIN pg_type AS b ON b.oid = d.base AND b.typtype <> 'd') ON d.type = t.oid
), labels AS (
  SELECT e.enumtypid, json_agg(e.enumlabel ORDER BY e.enumsortorder) AS labels FROM pg_enum AS e GROUP BY e.enumtypid
), columns AS (
  SELECT a.attrelid, array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns,
         array_agg(CASE WHEN n.nspname = 'pg_catalog' THEN t.typname::text ELSE '' END ORDER BY a.attnum) AS types,
         json_agg(coalesce(l.labels, '[]') ORDER BY a.attnum) AS labels
  FROM pg_attribute AS a
  JOIN base AS b ON b.type = a.atttypid
  JOIN pg_type AS t ON t.oid = b.base
  JOIN pg_namespace AS n ON n.oid = t.typnamespace
  LEFT JOIN labels AS l ON l.enumtypid = a.atttypid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
  GROUP BY a.attrelid
), indexes AS (
  SELECT i.indrelid, sum(s.bytes)::bigint AS bytes FROM pg_index AS i JOIN size AS s ON s.oid = i.indexrelid GROUP BY i.indrelid
)
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table' ELSE 'materialized view' END AS kind,
       (SELECT e.extname::text FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') AS extension,
       coalesce(heap.bytes, 0) AS heap_bytes,
       coalesce(toast.bytes, 0) + coalesce(toasted.bytes, 0) AS toast_bytes,
       coalesce(indexed.bytes, 0) AS index_bytes,
       c.reltuples AS estimated_rows,
       coalesce(m.amname, '') = 'heap' AS by_blocks,
       coalesce(k.columns, '{}') AS columns,
       coalesce(k.types, '{}') AS types,
       coalesce(k.labels, '[]') AS labels
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_am AS m ON m.oid = c.relam
LEFT JOIN size AS heap ON heap.oid = c.oid
LEFT JOIN size AS toast ON toast.oid = c.reltoastrelid
LEFT JOIN indexes AS toasted ON toasted.indrelid = c.reltoastrelid
LEFT JOIN indexes AS indexed ON indexed.indrelid = c.oid
LEFT JOIN columns AS k ON k.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'f', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;
