-- Which extensions are installed, in which version?
SELECT quote_ident(e.extname) AS name, e.extversion AS version, quote_ident(n.nspname) AS schema
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace;
