-- What belongs to the database itself and is in no dump of its objects: locale, owner, privileges, settings, comment,
-- and the roles that it names?
-- And on which extensions does something depend that is no part of one?
WITH RECURSIVE parts (classid, objid, extension) AS (
    SELECT 'pg_extension'::regclass::oid, oid, oid FROM pg_extension
    UNION
    SELECT d.classid, d.objid, p.extension
    FROM pg_depend AS d JOIN parts AS p ON d.refclassid = p.classid AND d.refobjid = p.objid
    WHERE d.deptype IN ('e', 'i', 'a')
)
SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding, d.datcollate::text AS lc_collate,
       d.datctype::text AS lc_ctype, s.spcname::text AS tablespace, d.datconnlimit AS connection_limit,
       CASE to_jsonb(d) ->> 'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END AS locale_provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       to_jsonb(d) ->> 'datcollversion' AS collation_version,
       shobj_description(d.oid, 'pg_database') AS comment,
       d.datacl IS NOT NULL AS has_acl,
       coalesce((SELECT json_agg(json_build_object('role', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                                                   'privilege', g.privilege_type, 'grantable', g.is_grantable)
                                 ORDER BY g.grantee::regrole::text, g.privilege_type)
                 FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS g), '[]') AS grants,
       coalesce((SELECT json_agg(json_build_object('role', quote_ident(r.rolname), 'name', split_part(item, '=', 1),
                                                   'value', substr(item, strpos(item, '=') + 1))
                                 ORDER BY r.rolname NULLS FIRST, item)
                 FROM pg_db_role_setting AS c CROSS JOIN LATERAL unnest(c.setconfig) AS item
                 LEFT JOIN pg_roles AS r ON r.oid = c.setrole WHERE c.setdatabase = d.oid), '[]') AS settings,
       ARRAY(SELECT DISTINCT quote_ident(e.extname)
             FROM pg_extension AS e
             JOIN parts AS p ON p.extension = e.oid
             JOIN pg_depend AS u ON u.refclassid = p.classid AND u.refobjid = p.objid
             WHERE NOT EXISTS (SELECT FROM parts AS own WHERE own.classid = u.classid AND own.objid = u.objid)) AS extensions_used,
       coalesce((SELECT json_object_agg(quote_ident(e.extname), ARRAY(SELECT format('%s %s', n.nspname, c.relname)
                                                                      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                                                                      WHERE c.oid = ANY (e.extconfig)))
                 FROM pg_extension AS e), '{}') AS extension_tables,
       ARRAY(SELECT DISTINCT pg_get_userbyid(r.oid)::text
             FROM (SELECT d.datdba UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
                   UNION ALL SELECT relowner FROM pg_class WHERE oid >= 16384
                   UNION ALL SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
                             AND (dbid = d.oid OR dbid = 0 AND classid = 'pg_database'::regclass AND objid = d.oid)) AS r (oid)
             WHERE r.oid IN (SELECT oid FROM pg_roles)
             ORDER BY 1) AS roles
FROM pg_database AS d
JOIN pg_tablespace AS s ON s.oid = d.dattablespace
WHERE d.datname = current_database();
