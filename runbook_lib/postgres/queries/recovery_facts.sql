-- Does this server archive its WAL, how did the last segments fare, and what may this role do about it?
SELECT pg_is_in_recovery() AS standby, current_setting('archive_mode') AS archive_mode, current_setting('server_version_num')::int / 10000 AS major,
       has_function_privilege('pg_create_restore_point(text)', 'EXECUTE') AS may_name, has_function_privilege('pg_switch_wal()', 'EXECUTE') AS may_switch,
       a.last_archived_wal, a.last_archived_time, a.last_failed_wal, a.last_failed_time,
       ARRAY(SELECT spcname::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1) AS tablespaces
FROM pg_stat_archiver AS a;
