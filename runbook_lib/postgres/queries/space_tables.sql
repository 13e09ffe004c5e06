-- Which tables of this database take most (bytes), and about how much of that is dead rows? An estimate, by PostgreSQL's counters.
SELECT format('%I.%I', s.schemaname, s.relname) AS name, pg_total_relation_size(s.relid) AS bytes, s.n_dead_tup AS dead,
       CASE WHEN s.n_dead_tup > 1000 THEN (pg_table_size(s.relid) * s.n_dead_tup / greatest(s.n_dead_tup + s.n_live_tup, 1))::bigint END AS frees
FROM pg_stat_user_tables AS s
ORDER BY 2 DESC
LIMIT 10;
