-- How much write-ahead log is there (bytes), and does the archiver take it away?
SELECT 'pg_wal' AS name, sum(w.size)::bigint AS bytes, count(*) AS files,
       (SELECT CASE WHEN current_setting('archive_mode') = 'off' THEN 'off'
                    WHEN a.last_failed_time > coalesce(a.last_archived_time, '-infinity') THEN 'failing since ' || to_char(a.last_failed_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
                    ELSE 'working' END
        FROM pg_stat_archiver AS a) AS archiver
FROM pg_ls_waldir() AS w;
