-- Which columns hold values of which enum, and which of its labels did the last ANALYZE see in them? Smallest table first.
-- `labels` are all that the enum has; a column of a partitioned table is told by its partitions.
SELECT format('%I.%I', en.nspname, e.typname) AS enum,
       (SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) FROM pg_enum AS l WHERE l.enumtypid = e.oid) AS labels,
       u.table, u.column, coalesce(u.array, false) AS "array", coalesce(u.seen, '{}') AS seen
FROM pg_type AS e
JOIN pg_namespace AS en ON en.oid = e.typnamespace
LEFT JOIN LATERAL (
  SELECT format('%I.%I', n.nspname, c.relname) AS "table", quote_ident(a.attname) AS "column", b.typelem = e.oid AS "array",
         CASE WHEN b.typelem = e.oid THEN s.most_common_elems::text::text[] ELSE s.most_common_vals::text::text[] END AS seen, c.relpages
  FROM pg_type AS t
  JOIN pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
  JOIN pg_attribute AS a ON a.atttypid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'f')
  JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname !~ '^pg_'
  LEFT JOIN pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
  WHERE e.oid IN (b.oid, b.typelem)
) AS u ON true
WHERE e.typtype = 'e' AND en.nspname !~ '^pg_'
ORDER BY 1, u.relpages, u.table, u.column;
