-- By which keys can the rows of a table be told from each other? The primary key first, then those of fewest columns.
-- Only an index that is valid, on plain columns that are never NULL, of every row, and checked at once.
-- `collated`: whether a column sorts by a collation; `kind`: its type in pg_type, domains not resolved.
SELECT array_agg(quote_ident(a.attname) ORDER BY k.place) AS names,
       array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY k.place) AS types,
       array_agg(CASE WHEN n.nspname = 'pg_catalog' THEN t.typname::text ELSE '' END ORDER BY k.place) AS kinds,
       array_agg(a.attcollation <> 0 ORDER BY k.place) AS collated
FROM pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_type AS t ON t.oid = a.atttypid
JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE i.indrelid = to_regclass(%(table)s) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid, i.indisprimary
HAVING bool_and(a.attnotnull)
ORDER BY i.indisprimary DESC, count(*), i.indexrelid;
