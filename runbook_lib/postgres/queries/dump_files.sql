-- Which file holds the rows of each table? A table that was truncated or rewritten since has another file, and looks
-- empty to every transaction that began before.
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relfilenode::bigint AS file
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';
