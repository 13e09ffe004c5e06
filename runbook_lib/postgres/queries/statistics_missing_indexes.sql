-- Which large tables would an index help? Those of which sequential scans have read the most rows, by what they cost:
-- bytes of the table, and rows read in all. How often a table is scanned says nothing (small tables are best read so), nor
-- does a ratio to the index scans: a thousand scans of a large table cost the same beside a million cheap look-ups.
-- All of it since the counters began. Reading by ctid, as the runbook does, adds rows but no scan.
SELECT format('%I.%I', s.schemaname, s.relname) AS name, pg_relation_size(s.relid) AS bytes, s.seq_scan AS sequential_scans,
       coalesce(s.idx_scan, 0) AS index_scans, s.seq_tup_read AS rows_read, s.seq_tup_read / s.seq_scan AS rows_per_scan
FROM pg_stat_user_tables AS s
WHERE s.seq_scan > 100 AND s.seq_tup_read > 1000000 AND s.seq_tup_read / s.seq_scan > 1000
  AND s.schemaname !~ '^pg_' AND pg_relation_size(s.relid) > 10 * 1024 * 1024
ORDER BY s.seq_tup_read DESC
LIMIT 20;
