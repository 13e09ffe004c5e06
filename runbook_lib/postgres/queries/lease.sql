-- What is the database of this number called, and what does its comment say?
SELECT datname::text AS name, coalesce(shobj_description(oid, 'pg_database'), '') AS comment
FROM pg_database
WHERE oid = %s;
