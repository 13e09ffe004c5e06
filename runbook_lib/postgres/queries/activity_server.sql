-- Was the server started since a moment, or has it recovered from a crash since (then its checkpointer is younger)? And is
-- that moment less than so many seconds ago?
SELECT coalesce((SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'), pg_postmaster_start_time()) > %(since)s AS restarted,
       clock_timestamp() - %(since)s < %(seconds)s * interval '1 s' AS in_time;
