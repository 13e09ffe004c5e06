-- Which database is this, how large is it (bytes), and what of it may be read?
SELECT d.datname::text AS database, d.oid::bigint AS database_oid, pg_database_size(d.oid) AS database_bytes,
       current_setting('server_version') AS server_version, current_setting('block_size')::int AS block_size,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects,
       has_table_privilege('pg_largeobject', 'SELECT') AS large_objects_readable,
       has_function_privilege('pg_control_system()', 'EXECUTE') AS identifier_readable
FROM pg_database AS d
WHERE d.datname = current_database();
