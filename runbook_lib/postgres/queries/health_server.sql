-- Which server is this, and which database on it?
SELECT current_setting('server_version') AS server_version, current_setting('server_version_num')::int AS server_version_num,
       d.datname::text AS database, d.oid::bigint AS database_oid, pg_database_size(d.oid) AS database_bytes,
       pg_is_in_recovery() AS standby, pg_postmaster_start_time() AS started_at,
       has_function_privilege('pg_control_system()', 'EXECUTE') AS identifier_readable,
       current_user::text AS "user", (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       s.spcname::text AS tablespace, pg_tablespace_location(s.oid) AS tablespace_location,
       pg_encoding_to_char(d.encoding) AS encoding, d.datcollate::text AS lc_collate, to_jsonb(d) ->> 'datcollversion' AS collation_version,
       current_setting('data_checksums') AS data_checksums
FROM pg_database AS d
JOIN pg_tablespace AS s ON s.oid = d.dattablespace
WHERE d.datname = current_database();
