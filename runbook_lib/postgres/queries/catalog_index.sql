-- Which indexes are there, on which table, and can the planner use them?
SELECT format('%I.%I', n.nspname, x.relname) AS name,
       format('%I.%I', tn.nspname, c.relname) AS "table",
       pg_get_indexdef(i.indexrelid) AS definition,
       x.reloptions AS options,
       coalesce(x.relam >= 16384, false) AS custom_access_method,
       i.indisvalid AS valid,
       CASE WHEN i.indisvalid THEN i.indisready END AS ready,
       (SELECT format('%I.%I', pn.nspname, p.relname) FROM pg_inherits AS h JOIN pg_class AS p ON p.oid = h.inhparent
        JOIN pg_namespace AS pn ON pn.oid = p.relnamespace WHERE h.inhrelid = x.oid) AS part_of,
       nullif(i.indisunique, false) AS "unique",
       nullif(i.indisprimary, false) AS "primary",
       nullif(i.indisreplident, false) AS replica_identity,
       nullif(i.indisclustered, false) AS clustered,
       s.spcname AS tablespace
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = x.relnamespace
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_namespace AS tn ON tn.oid = c.relnamespace
LEFT JOIN pg_tablespace AS s ON s.oid = x.reltablespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
