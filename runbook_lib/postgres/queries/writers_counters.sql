-- How many rows were inserted, updated and deleted in each table, the catalogues' among them, since its statistics began?
-- And in which file does it lie: TRUNCATE and whatever rewrites it give it a new one, and count no row.
-- Sessions report with up to ten seconds' delay, and at once when they end. What the planner is told by ANALYZE is no
-- write, and what all databases share (roles, comments on databases) is not of this one.
SELECT format('%I.%I', s.schemaname, s.relname) AS name, s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted,
       coalesce(pg_relation_filenode(s.relid), 0)::bigint AS file
FROM pg_stat_all_tables AS s
WHERE s.schemaname !~ '^pg_toast' AND s.schemaname !~ '^pg_temp' AND s.schemaname <> 'information_schema'
  AND NOT (s.schemaname = 'pg_catalog' AND s.relname IN ('pg_statistic', 'pg_statistic_ext_data'))
  AND s.relid NOT IN (SELECT c.oid FROM pg_class AS c WHERE c.relisshared)
ORDER BY 1;
