-- How many rows were inserted, updated and deleted in each table since its statistics began? Sessions report with up to
-- ten seconds' delay.
SELECT format('%I.%I', s.schemaname, s.relname) AS name, s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted
FROM pg_stat_user_tables AS s
ORDER BY 1;
