-- By which columns is one row of each table found, which column may be written (one of those, if it can be), and how large is it?
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, n.nspname::text AS schema, c.relname::text AS relation,
       coalesce(k.columns, '{}') AS key,
       (SELECT quote_ident(a.attname) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
        ORDER BY quote_ident(a.attname) = ANY (coalesce(k.columns, '{}')) DESC, a.attnum LIMIT 1) AS written
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (SELECT array_agg(quote_ident(a.attname) ORDER BY u.place) AS columns
                   FROM pg_index AS i
                   CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS u(number, place)
                   JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.number
                   WHERE i.indrelid = c.oid AND i.indisprimary AND u.place <= i.indnkeyatts) AS k ON true
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY c.relpages DESC, 1;
