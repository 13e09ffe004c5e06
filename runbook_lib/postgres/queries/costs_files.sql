-- Which tables, materialized views and their indexes are there, and in which file does each lie? Another file is a rewrite.
SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind, pg_relation_filenode(c.oid)::bigint AS file
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'i') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';
