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
), fields AS (
  SELECT a.attrelid AS relation, a.attnum AS number, quote_ident(a.attname) AS name, a.attnotnull AS not_null, a.attgenerated <> 'v' AS stored,
         format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attcollation <> t.typcollation THEN format(' COLLATE %s', a.attcollation::regcollation) ELSE '' END AS type
  FROM pg_attribute AS a
  JOIN pg_type AS t ON t.oid = a.atttypid
  WHERE a.attrelid IN (SELECT relation FROM dropped) AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT d."table", d.beside, f.name, d.relkind = 'p' AS partitioned, d.relkind = 'f' AS "foreign",
       d.attinhcount > 0 AS inherited,
       NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = d.relation) OR d.relkind = 'p' AS alone,
       f.type, f.not_null,
       CASE WHEN d.attgenerated = '' THEN pg_get_expr(e.adbin, e.adrelid) END AS "default",
       CASE d.attgenerated WHEN 's' THEN 'STORED' WHEN 'v' THEN 'VIRTUAL' END AS generated,
       CASE WHEN d.attgenerated <> '' THEN pg_get_expr(e.adbin, e.adrelid) END AS expression,
       CASE d.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END AS identity,
       owned.sequence, owned.options,
       key.columns AS key, key.definitions AS key_definitions, every.columns AS every, every.definitions AS every_definition
FROM dropped AS d
JOIN fields AS f ON f.relation = d.relation AND f.number = d.attnum
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
  SELECT array_agg(k.name ORDER BY p.place) AS columns, array_agg(k.name || ' ' || k.type ORDER BY p.place) AS definitions
  FROM pg_index AS i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS p (number, place)
  JOIN fields AS k ON k.relation = i.indrelid AND k.number = p.number
  WHERE i.indrelid = d.relation AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND p.place <= i.indnkeyatts
  GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
  HAVING bool_and(k.not_null AND NOT EXISTS (SELECT FROM dropped AS x WHERE x.relation = d.relation AND x.attnum = k.number)
                  AND NOT EXISTS (SELECT FROM pg_constraint AS v WHERE v.conrelid = d.relation AND v.contype = 'n' AND NOT v.convalidated
                                                                   AND v.conkey[1] = k.number))
  ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
  LIMIT 1
) AS key ON true
LEFT JOIN LATERAL (
  SELECT array_agg(k.name ORDER BY k.number) AS columns, array_agg(k.name || ' ' || k.type ORDER BY k.number) AS definitions
  FROM fields AS k
  WHERE k.relation = d.relation AND k.stored
) AS every ON true
ORDER BY d."table", d.attnum;
