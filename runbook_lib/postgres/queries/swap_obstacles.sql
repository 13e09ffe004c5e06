-- Which prepared transactions and active logical replication slots hold on to which database?
SELECT p.database::text AS database, 'prepared transaction ' || quote_literal(p.gid) || ' of ' || p.owner AS what
FROM pg_prepared_xacts AS p
UNION ALL
SELECT s.database::text, 'active logical replication slot ' || s.slot_name
FROM pg_replication_slots AS s
WHERE s.slot_type = 'logical' AND s.active
ORDER BY 1, 2;
