-- With which version of its collation was each index on text built, and which is installed now? A newer one may sort otherwise:
-- then such an index misses rows, and lets duplicates in. One row a collation that an index uses.
-- `actual` of the database's own collation is asked apart: PostgreSQL 14 knows neither.
WITH used AS (
  SELECT k.used, array_agg(DISTINCT format('%I.%I', n.nspname, x.relname)) AS indexes
  FROM pg_index AS i
  JOIN pg_class AS x ON x.oid = i.indexrelid
  JOIN pg_namespace AS n ON n.oid = x.relnamespace
  CROSS JOIN LATERAL unnest(i.indcollation) AS k (used)
  WHERE k.used <> 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  GROUP BY k.used
)
SELECT 'collation' AS kind, format('%I.%I', n.nspname, c.collname) AS name, c.collversion AS recorded, pg_collation_actual_version(c.oid) AS actual,
       c.collcollate ~* '^(C|POSIX)($|\.)' AS by_bytes, u.indexes
FROM used AS u
JOIN pg_collation AS c ON c.oid = u.used
JOIN pg_namespace AS n ON n.oid = c.collnamespace
WHERE c.collprovider <> 'd'
UNION ALL
SELECT 'database', quote_ident(d.datname), to_jsonb(d) ->> 'datcollversion', NULL, d.datcollate ~* '^(C|POSIX)($|\.)', u.indexes
FROM used AS u
JOIN pg_collation AS c ON c.oid = u.used AND c.collprovider = 'd'
JOIN pg_database AS d ON d.datname = current_database()
ORDER BY 1, 2;
