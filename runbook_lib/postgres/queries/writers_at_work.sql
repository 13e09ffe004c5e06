-- Which transactions of this database have written and not ended, and whose are they (by application name)?
SELECT a.application_name AS application,
       CASE WHEN top - mod(top, 4294967296) + x > top THEN top - mod(top, 4294967296) + x - 4294967296 ELSE top - mod(top, 4294967296) + x END AS xid
FROM (SELECT application_name, backend_xid::text::bigint AS x FROM pg_stat_activity
      WHERE datname = current_database() AND backend_xid IS NOT NULL) AS a,
     (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1 AS top) AS t;
