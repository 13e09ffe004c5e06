-- Which composite and range types are there, and what are they made of?
SELECT format('%I.%I', n.nspname, t.typname) AS name,
       CASE t.typtype WHEN 'c' THEN 'composite' ELSE 'range' END AS kind,
       ARRAY(SELECT format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)) FROM pg_attribute AS a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS attributes,
       (SELECT format_type(r.rngsubtype, NULL) FROM pg_range AS r WHERE r.rngtypid = t.oid) AS subtype,
       pg_get_userbyid(t.typowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_type AS t
JOIN pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_class AS c ON c.oid = t.typrelid
WHERE (t.typtype = 'r' OR t.typtype = 'c' AND c.relkind = 'c')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e');
