-- Which constraints were never checked against the rows that were there before? They still reject every new or updated row.
-- Those that a partition or a child has from its parent are told with the parent. `not_null` is the column of a NOT NULL (18 and newer).
SELECT format('%I.%I', n.nspname, c.relname) AS "table", quote_ident(k.conname) AS name, pg_get_constraintdef(k.oid) AS definition,
       CASE WHEN k.contype = 'n' THEN (SELECT quote_ident(a.attname) FROM pg_attribute AS a WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1]) END AS not_null
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT k.convalidated AND k.conislocal AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2;
