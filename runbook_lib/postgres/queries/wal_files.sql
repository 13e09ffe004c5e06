-- In which file does each table lie, its TOAST table and the catalogues among them? An unlogged table is not in the log.
SELECT pg_relation_filenode(c.oid)::bigint AS file,
       CASE WHEN o.oid IS NULL THEN format('%I.%I', n.nspname, c.relname) ELSE format('%I.%I', m.nspname, o.relname) END AS name,
       c.relpersistence = 'p' AS logged
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN (pg_class AS o JOIN pg_namespace AS m ON m.oid = o.relnamespace) ON o.reltoastrelid = c.oid
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't' AND pg_relation_filenode(c.oid) IS NOT NULL
ORDER BY 1;
