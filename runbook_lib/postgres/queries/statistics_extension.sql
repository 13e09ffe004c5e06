-- Can pg_stat_statements be read here: where is it installed and in which version, was it loaded at start, and may this
-- role see the statements of others?
SELECT (SELECT quote_ident(n.nspname) FROM pg_namespace AS n WHERE n.oid = e.extnamespace) AS schema, e.extversion AS version,
       string_to_array(e.extversion, '.')::int[] >= '{1,9}' AS recent,
       EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max') AS loaded,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_others
FROM (SELECT 1) AS one
LEFT JOIN pg_extension AS e ON e.extname = 'pg_stat_statements';
