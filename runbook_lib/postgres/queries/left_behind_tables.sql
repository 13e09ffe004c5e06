-- Of each table with rows of its own: its key, the columns that can be written, whether one of them is an identity that is always
-- generated, and the tables that it refers to.
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY k.place)
        FROM pg_index AS i
        CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate) AS key,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attidentity = 'a' AND NOT a.attisdropped) AS always,
       ARRAY(SELECT DISTINCT format('%I.%I', m.nspname, p.relname) FROM pg_constraint AS o
             JOIN pg_class AS p ON p.oid = o.confrelid JOIN pg_namespace AS m ON m.oid = p.relnamespace
             WHERE o.contype = 'f' AND o.conrelid = c.oid AND o.confrelid <> c.oid) AS parents
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1;
