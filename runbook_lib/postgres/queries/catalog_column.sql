-- Which columns has each table, of which type, and what fills them?
SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN CASE WHEN v.conrelid IS NULL THEN 'yes' ELSE 'not validated' END END AS not_null,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(e.adbin, e.adrelid) END AS "default",
       CASE a.attgenerated WHEN 's' THEN 'stored ' WHEN 'v' THEN 'virtual ' END || pg_get_expr(e.adbin, e.adrelid) AS generated,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation,
       CASE WHEN a.attstorage <> t.typstorage
            THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' WHEN 'x' THEN 'extended' END
       END AS storage,
       CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS compression,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS statistics_target,
       a.attoptions AS options,
       CASE WHEN a.attacl IS NOT NULL
            THEN ARRAY(SELECT g::text FROM unnest(a.attacl) AS g ORDER BY g::text COLLATE "C") END AS acl
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef AS e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
LEFT JOIN pg_constraint AS v ON v.conrelid = a.attrelid AND v.contype = 'n' AND NOT v.convalidated AND v.conkey[1] = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
                                             AND d.deptype = 'e');
