-- Which columns will be dropped, what are they, and by which key are their rows found again?
-- SET runbook.columns = '["public.\"Patient\".\"insurerName\""]' names them. A column that a table inherits is left to the
-- table that it comes from. The key is the primary key, else a unique index, over columns that stay and are never null.
WITH dropped AS (
  SELECT c.oid AS relation, format('%I.%I', n.nspname, c.relname) AS "table", c.relkind,
         format('%I.%I', n.nspname, left(c.relname::text, 57 - (octet_length(c.relname::text) - length(c.relname::text))) || '_saved') AS beside, a.*
  FROM pg_attribute AS a
  JOIN pg_class AS c ON c.oid = a.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE a.attnum > 0 AND NOT a.attisdropped
    AND format('%I.%I.%I', n.nspname, c.relname, a.attname) IN (SELECT json_array_elements_text(current_setting('runbook.columns')::json))
)
SELECT d."table", d.beside, quote_ident(d.attname) AS name, d.relkind = 'p' AS partitioned, d.relkind = 'f' AS "foreign",
       d.attinhcount > 0 AS inherited,
       NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = d.relation) OR d.relkind = 'p' AS alone,
       format_type(d.atttypid, d.atttypmod)
         || CASE WHEN d.attcollation <> t.typcollation THEN format(' COLLATE %s', d.attcollation::regcollation) ELSE '' END AS type,
       d.attnotnull AS not_null,
       CASE WHEN d.attgenerated = '' THEN pg_get_expr(e.adbin, e.adrelid) END AS "default",
       CASE d.attgenerated WHEN 's' THEN 'STORED' WHEN 'v' THEN 'VIRTUAL' END AS generated,
       CASE WHEN d.attgenerated <> '' THEN pg_get_expr(e.adbin, e.adrelid) END AS expression,
       CASE d.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END AS identity,
       owned.sequence, owned.options,
       key.columns AS key, key.definitions AS key_definitions, every.columns AS every, every.definitions AS every_definition
FROM dropped AS d
JOIN pg_type AS t ON t.oid = d.atttypid
LEFT JOIN pg_attrdef AS e ON e.adrelid = d.relation AND e.adnum = d.attnum
LEFT JOIN LATERAL (
  SELECT format('%I.%I', n.nspname, c.relname) AS sequence,
         format('START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s %s', s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) AS options
  FROM pg_depend AS o
  JOIN pg_sequence AS s ON s.seqrelid = o.objid
  JOIN pg_class AS c ON c.oid = s.seqrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass AND o.refobjid = d.relation AND o.refobjsubid = d.attnum
    AND o.deptype IN ('a', 'i')
  LIMIT 1
) AS owned ON true
LEFT JOIN LATERAL (
  SELECT array_agg(quote_ident(k.attname) ORDER BY p.place) AS columns,
         array_agg(format('%I %s', k.attname, format_type(k.atttypid, k.atttypmod))
                   || CASE WHEN k.attcollation <> kt.typcollation THEN format(' COLLATE %s', k.attcollation::regcollation) ELSE '' END
                   ORDER BY p.place) AS definitions
  FROM pg_index AS i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS p (number, place)
  JOIN pg_attribute AS k ON k.attrelid = i.indrelid AND k.attnum = p.number
  JOIN pg_type AS kt ON kt.oid = k.atttypid
  WHERE i.indrelid = d.relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND p.place <= i.indnkeyatts
  GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
  HAVING bool_and(k.attnotnull AND NOT EXISTS (SELECT FROM dropped AS x WHERE x.relation = d.relation AND x.attnum = k.attnum)
                  AND NOT EXISTS (SELECT FROM pg_constraint AS v WHERE v.conrelid = d.relation AND v.contype = 'n' AND NOT v.convalidated
                                                                   AND v.conkey[1] = k.attnum))
  ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
  LIMIT 1
) AS key ON true
LEFT JOIN LATERAL (
  SELECT array_agg(quote_ident(k.attname) ORDER BY k.attnum) AS columns,
         array_agg(format('%I %s', k.attname, format_type(k.atttypid, k.atttypmod))
                   || CASE WHEN k.attcollation <> kt.typcollation THEN format(' COLLATE %s', k.attcollation::regcollation) ELSE '' END
                   ORDER BY k.attnum) AS definitions
  FROM pg_attribute AS k
  JOIN pg_type AS kt ON kt.oid = k.atttypid
  WHERE k.attrelid = d.relation AND k.attnum > 0 AND NOT k.attisdropped AND k.attgenerated <> 'v'
) AS every ON true
ORDER BY d."table", d.attnum;
