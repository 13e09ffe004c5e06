-- Which foreign keys are there, from which columns to which, and were they ever checked against the rows that were there?
-- Those that a partition has from its partitioned table are left out: the parent's is checked with all partitions.
-- `rows_per_key` is estimated, where an index has the column in its usual order: then its different values can be read alone.
SELECT format('%I.%I', n.nspname, c.relname) AS "table", quote_ident(k.conname) AS constraint,
       format('%I.%I', fn.nspname, f.relname) AS referenced,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY p.place) FROM unnest(k.conkey) WITH ORDINALITY AS p (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = p.number) AS columns,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY p.place) FROM unnest(k.confkey) WITH ORDINALITY AS p (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = p.number) AS referenced_columns,
       (SELECT array_agg(format('OPERATOR(%I.%s)', q.nspname, o.oprname) ORDER BY p.place) FROM unnest(k.conpfeqop) WITH ORDINALITY AS p (number, place)
        JOIN pg_operator AS o ON o.oid = p.number JOIN pg_namespace AS q ON q.oid = o.oprnamespace) AS operators,
       k.confmatchtype = 'f' AS match_full, k.convalidated AS validated,
       coalesce((to_jsonb(k) ->> 'conperiod')::bool, false) AS temporal,
       c.relkind = 'p' AS partitioned, f.relkind = 'p' AS referenced_partitioned,
       (SELECT CASE WHEN s.n_distinct > 0 THEN c.reltuples / s.n_distinct WHEN s.n_distinct < 0 THEN -1 / s.n_distinct END
        FROM pg_attribute AS a
        JOIN pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
        WHERE a.attrelid = c.oid AND a.attnum = k.conkey[1] AND cardinality(k.conkey) = 1 AND c.relkind = 'r'
          AND EXISTS (SELECT FROM pg_index AS i
                      JOIN pg_opclass AS o ON o.oid = i.indclass[0] AND o.opcdefault AND o.opcnamespace = 'pg_catalog'::regnamespace
                      JOIN pg_am AS m ON m.oid = o.opcmethod AND m.amname = 'btree'
                      WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indcollation[0] = a.attcollation AND i.indisvalid AND i.indpred IS NULL)
       ) AS rows_per_key
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS f ON f.oid = k.confrelid
JOIN pg_namespace AS fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname !~ '^pg_'
ORDER BY c.relpages DESC, 1, 2;
