-- Which sequences are there, how do they count, and which column owns them?
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       format_type(s.seqtypid, NULL) AS type,
       s.seqstart AS start, s.seqincrement AS increment, s.seqmin AS minimum, s.seqmax AS maximum, s.seqcache AS cache,
       nullif(s.seqcycle, false) AS cycle,
       CASE c.relpersistence WHEN 'u' THEN 'unlogged' END AS persistence,
       (SELECT format('%I.%I.%I', tn.nspname, t.relname, a.attname)
        FROM pg_depend AS o
        JOIN pg_class AS t ON t.oid = o.refobjid
        JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = o.refobjsubid
        WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
          AND o.deptype IN ('a', 'i')) AS owned_by,
       pg_get_userbyid(c.relowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(c.relacl, acldefault('s', c.relowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
