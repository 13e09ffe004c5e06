-- Which sequences fill which column, as its own, as its identity or by its default? (The next value of one that is behind the
-- column's largest is rejected as duplicate. A default that does something with the value is left out.)
SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS sequence, format('%I.%I', tn.nspname, t.relname) AS "table",
       quote_ident(a.attname) AS "column", s.seqincrement AS increment, s.seqmax AS maximum, s.seqmin AS minimum
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN (SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
      FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      UNION ALL
      SELECT d.refobjid, e.adrelid, e.adnum
      FROM pg_depend AS d JOIN pg_attrdef AS e ON e.oid = d.objid
      WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
        AND pg_get_expr(e.adbin, e.adrelid) ~ '^nextval\(''.*''::regclass\)(::\w+)?$') AS f ON f.sequence = c.oid
JOIN pg_class AS t ON t.oid = f.relation
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = f.number
JOIN pg_type AS y ON y.oid = a.atttypid AND coalesce(nullif(y.typbasetype, 0), y.oid) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2, 3;
