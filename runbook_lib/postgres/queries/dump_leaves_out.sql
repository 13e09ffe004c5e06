-- What of this database comes up in no copy that is restored from a dump, what stays with the old database when a copy takes
-- its name, and what keeps this role from dumping it? `held` is what a swap by name would wait for; `refused` what ends the dump.
WITH me AS (
  SELECT rolsuper AS super, rolsuper OR rolbypassrls AS all_rows FROM pg_roles WHERE rolname = current_user
)
SELECT 'logical replication slot' AS kind, quote_ident(s.slot_name) AS name, s.active AS held, false AS refused
FROM pg_replication_slots AS s
WHERE s.slot_type = 'logical' AND s.database = current_database()
UNION ALL
SELECT 'subscription', quote_ident(s.subname), false, false
FROM pg_subscription AS s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'prepared transaction', quote_literal(p.gid), true, false
FROM pg_prepared_xacts AS p
WHERE p.database = current_database()
UNION ALL
SELECT 'invalid index', format('%I.%I', n.nspname, x.relname), false, false
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = x.relnamespace
WHERE NOT (i.indisready AND (i.indisvalid OR c.relkind = 'p')) AND n.nspname !~ '^pg_'
UNION ALL
SELECT 'foreign table', format('%I.%I', n.nspname, c.relname), false, false
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'f'
UNION ALL
SELECT 'user mapping', format('%s for %s', quote_ident(m.srvname), quote_ident(m.usename)), false, false
FROM pg_user_mappings AS m CROSS JOIN me
WHERE NOT me.super
UNION ALL
SELECT 'unlogged table', format('%I.%I', n.nspname, c.relname), false, false
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'u'
UNION ALL
SELECT 'event trigger', quote_ident(t.evtname), false, false
FROM pg_event_trigger AS t CROSS JOIN me
WHERE NOT me.super
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT 'publication of all tables', quote_ident(p.pubname), false, false
FROM pg_publication AS p CROSS JOIN me
WHERE p.puballtables AND NOT me.super
UNION ALL
SELECT 'extension of one database', quote_ident(e.extname), false, true
FROM pg_extension AS e
WHERE e.extname = 'pg_cron'
UNION ALL
SELECT 'security label', format('%s of %s', l.provider, l.objname), false, false
FROM pg_seclabels AS l
WHERE l.classoid <> 'pg_authid'::regclass AND l.classoid <> 'pg_tablespace'::regclass
UNION ALL
SELECT 'row security', format('%I.%I', n.nspname, c.relname), false, true
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN me
WHERE c.relkind IN ('r', 'p') AND NOT me.all_rows AND row_security_active(c.oid) AND n.nspname !~ '^pg_'
UNION ALL
SELECT 'no right to read', format('%I.%I', n.nspname, c.relname), false, true
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT') ELSE NOT has_table_privilege(c.oid, 'SELECT') END
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2;
