-- What in each database would stand in the way of dropping it, or be lost with it: prepared transactions, logical slots
-- (an idle slot would be destroyed without a word), sessions? (Subscriptions: subscriptions.sql.)
SELECT database, string_agg(what, '; ' ORDER BY what) AS what
FROM (
  SELECT p.database::text AS database, 'prepared transaction ' || quote_literal(p.gid) AS what FROM pg_prepared_xacts AS p
  UNION ALL
  SELECT s.database::text, 'logical replication slot ' || s.slot_name FROM pg_replication_slots AS s WHERE s.slot_type = 'logical'
  UNION ALL
  SELECT a.datname::text, 'session ' || a.pid || ' (' || coalesce(nullif(a.application_name, ''), 'unnamed') || ')'
  FROM pg_stat_activity AS a WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
) AS held
WHERE database IS NOT NULL
GROUP BY database;
