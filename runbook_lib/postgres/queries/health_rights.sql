-- Which rights has this role that only the catalogues can tell, and which tables is it to be tried on? Large objects that neither
-- are its own nor may be read by everybody; of sequences, those that it may not read. What a session's login may do to
-- other sessions, and see of them, it may although it acts as another role.
SELECT r.rolcreatedb OR r.rolsuper AS create_database, r.rolbypassrls OR r.rolsuper AS bypass_row_security,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE') OR pg_has_role(session_user, 'pg_signal_backend', 'USAGE') AS signal,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') OR pg_has_role(session_user, 'pg_read_all_stats', 'USAGE') AS statistics,
       pg_has_role(current_user, d.datdba, 'USAGE') AS own_database,
       quote_ident(current_user) AS me, quote_ident(pg_get_userbyid(d.datdba)) AS owner,
       (SELECT string_agg(DISTINCT a.usename, ', ') FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND NOT pg_has_role(v.viewer, a.usesysid, 'USAGE')) AS unseen,
       ARRAY(SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE (c.relkind IN ('r', 'p') OR c.relkind = 'm' AND c.relispopulated) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
             ORDER BY 1) AS tables,
       ARRAY(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT'))
             ORDER BY 1) AS unreadable,
       ARRAY(SELECT format('large object %s', l.oid) FROM pg_largeobject_metadata AS l
             WHERE NOT r.rolsuper AND NOT pg_has_role(current_user, l.lomowner, 'USAGE')
               AND NOT EXISTS (SELECT FROM aclexplode(l.lomacl) AS a WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(current_user, a.grantee, 'USAGE')))
             ORDER BY 1 LIMIT 20) AS unreadable_objects,
       ARRAY(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               AND NOT pg_has_role(current_user, c.relowner, 'USAGE')
               AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
             ORDER BY 1) AS not_owned,
       ARRAY(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND n.nspname !~ '^pg_'
               AND (c.relforcerowsecurity OR NOT pg_has_role(current_user, c.relowner, 'USAGE'))
             ORDER BY 1) AS row_security
FROM pg_roles AS r
CROSS JOIN pg_database AS d
CROSS JOIN (SELECT CASE WHEN pg_has_role(current_user, session_user, 'USAGE') THEN current_user ELSE session_user END AS viewer) AS v
WHERE r.rolname = current_user AND d.datname = current_database();
