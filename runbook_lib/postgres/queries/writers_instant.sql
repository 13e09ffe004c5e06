-- Since when does the server count (a reset, or the start after a crash, begins the counts anew), and does it count at all?
SELECT concat_ws(', ', coalesce(d.stats_reset::text, 'never reset'),
                 coalesce((SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'), pg_postmaster_start_time())) AS since,
       current_setting('track_counts')::bool AS counting
FROM pg_stat_database AS d
WHERE d.datname = current_database();
