-- Name this point of the WAL, so that a recovery can end exactly here. Where is it, and when was that?
SELECT w.lsn::text AS lsn, pg_walfile_name(w.lsn) AS segment, clock_timestamp() AS time
FROM (SELECT pg_create_restore_point(%(name)s) AS lsn OFFSET 0) AS w;
