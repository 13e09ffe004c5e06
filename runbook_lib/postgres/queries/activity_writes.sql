-- How many rows were inserted, updated and deleted in each table since its statistics began? Sessions report with up to
-- ten seconds' delay. The catalogue's pg_class is in it: TRUNCATE and DDL change that, and count no row of the table.
SELECT format('%I.%I', s.schemaname, s.relname) AS name, s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted
FROM pg_stat_all_tables AS s
WHERE s.schemaname NOT IN ('pg_catalog', 'information_schema') AND s.schemaname !~ '^pg_toast' OR s.relid = 'pg_class'::regclass
ORDER BY 1;
