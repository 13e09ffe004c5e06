-- Which sequences fill which column? (The next value of one that is behind the column's largest is rejected as duplicate.)
SELECT format('%I.%I', n.nspname, c.relname) AS sequence, format('%I.%I', tn.nspname, t.relname) AS "table",
       quote_ident(a.attname) AS "column", s.seqincrement AS increment, s.seqmax AS maximum, s.seqmin AS minimum
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class AS t ON t.oid = d.refobjid
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;
