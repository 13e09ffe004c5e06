-- Did this session reach the server as it was asked to: its settings arrived, and the server may be written to?
SELECT current_setting('client_connection_check_interval') AS check_interval, pg_is_in_recovery() AS standby,
       (SELECT reset_val::bool FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only,
       current_user::text AS "user", coalesce(current_schema()::text, 'none') AS schema,
       (SELECT s.version FROM pg_stat_ssl AS s WHERE s.pid = pg_backend_pid()) AS tls,
       extract(epoch FROM clock_timestamp())::float8 AS clock;
