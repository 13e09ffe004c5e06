-- How far are index builds, table rewrites, copies, vacuums and ANALYZE?
SELECT p.pid, a.application_name AS application, p.what,
       (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = p.relation) AS relation,
       p.phase, p.done, p.total, extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS seconds
FROM (SELECT pid, datid, lower(command) AS what, relid AS relation, phase,
             CASE WHEN blocks_total > 0 THEN blocks_done WHEN tuples_total > 0 THEN tuples_done ELSE lockers_done END AS done,
             CASE WHEN blocks_total > 0 THEN blocks_total WHEN tuples_total > 0 THEN tuples_total ELSE lockers_total END AS total
      FROM pg_stat_progress_create_index
      UNION ALL
      SELECT pid, datid, lower(command), relid, phase, heap_blks_scanned, heap_blks_total FROM pg_stat_progress_cluster
      UNION ALL
      SELECT pid, datid, 'vacuum', relid, phase, heap_blks_scanned, heap_blks_total FROM pg_stat_progress_vacuum
      UNION ALL
      SELECT pid, datid, 'analyze', relid, phase, sample_blks_scanned, sample_blks_total FROM pg_stat_progress_analyze
      UNION ALL
      SELECT pid, datid, lower(command), relid, tuples_processed || ' rows', bytes_processed, bytes_total FROM pg_stat_progress_copy) AS p
JOIN pg_stat_activity AS a USING (pid)
WHERE p.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY seconds DESC;
