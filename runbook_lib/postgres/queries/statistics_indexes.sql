-- How large is each index (bytes), how often was it used, and can the planner use it?
SELECT format('%I.%I', s.schemaname, s.indexrelname) AS name, format('%I.%I', s.schemaname, s.relname) AS "table",
       pg_relation_size(s.indexrelid) AS bytes, s.idx_scan AS scans, i.indisvalid AS valid, i.indisunique AS "unique"
FROM pg_stat_user_indexes AS s
JOIN pg_index AS i ON i.indexrelid = s.indexrelid
WHERE s.schemaname !~ '^pg_'
ORDER BY bytes DESC, 1;
