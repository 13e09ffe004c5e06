-- Which tables has the planner no statistics of, or older ones than their rows? Largest first; a partitioned table brings its
-- partitions with it.
-- `lacking`: a table with rows, or an expression of one of its indexes, has none in some column; in `none`, in no column at all.
-- `changed`: rows were written since the last ANALYZE, or nobody knows when that was. `readable` is whether this role would see them, `analysable` whether it
-- may renew them.
WITH columns AS (
  SELECT a.attrelid, count(*) AS columns, count(s.attname) AS known
  FROM pg_attribute AS a
  JOIN pg_class AS c ON c.oid = a.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN (SELECT DISTINCT p.schemaname, p.tablename, p.attname FROM pg_stats AS p) AS s
    ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
  WHERE c.relkind IN ('r', 'p', 'm', 'i') AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget IS DISTINCT FROM 0
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (c.relkind <> 'i' OR EXISTS (SELECT FROM pg_index AS i WHERE i.indexrelid = c.oid AND i.indkey[a.attnum - 1] = 0))
  GROUP BY a.attrelid
), found AS (
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind, c.relpages, c.relispartition,
         pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE')
           OR CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN') END IS TRUE AS analysable,
         has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid) AS readable,
         c.reltuples <> 0 AND CASE c.relkind  -- 0 is what ANALYZE has counted, -1 that it never did
           WHEN 'p' THEN EXISTS (SELECT FROM pg_partition_tree(c.oid) AS p WHERE p.isleaf AND pg_relation_size(p.relid) > 0)
           ELSE pg_relation_size(c.oid) > 0 END AS filled,
         coalesce(pg_stat_get_mod_since_analyze(c.oid), 0) > 0 AS written,
         coalesce(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) IS NULL AS unknown
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_database AS d ON d.datname = current_database()
  WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
)
SELECT f.name, f.readable, f.analysable, f.filled AND k.known < k.columns OR f.filled AND x.lacking AS lacking, f.filled AND k.known = 0 AS none,
       f.written OR f.filled AND f.unknown AS changed
FROM found AS f
LEFT JOIN columns AS k ON k.attrelid = f.oid
LEFT JOIN (SELECT i.indrelid, bool_or(k.known < k.columns) AS lacking FROM pg_index AS i JOIN columns AS k ON k.attrelid = i.indexrelid
           GROUP BY i.indrelid) AS x ON x.indrelid = f.oid
ORDER BY f.relkind = 'p' DESC, f.relpages DESC, 1;
