-- Which constraints hold on which table, and which of them were never checked against the rows that were there before?
-- NOT NULL is told with the column.
SELECT format('%I.%I.%I', n.nspname, c.relname, k.conname) AS name,
       CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check'
                      WHEN 'x' THEN 'exclusion' ELSE k.contype::text END AS type,
       regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS definition,
       k.convalidated AS validated
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
