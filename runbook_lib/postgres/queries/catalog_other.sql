-- Which rarer objects are there: operators, casts, collations, text search, transforms, foreign-data wrappers?
-- Objects that came with the server have numbers below 16384; those of extensions are told by the extension's version.
SELECT format('%s %s', i.type, i.identity) AS name
FROM (SELECT 'pg_operator'::regclass AS class, oid FROM pg_operator WHERE oid >= 16384
      UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE oid >= 16384
      UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE oid >= 16384
      UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE oid >= 16384
      UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE oid >= 16384
      UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion WHERE oid >= 16384
      UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE oid >= 16384
      UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE oid >= 16384
      UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser WHERE oid >= 16384
      UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template WHERE oid >= 16384
      UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform WHERE oid >= 16384
      UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language WHERE oid >= 16384
      UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper WHERE oid >= 16384) AS o
CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) AS i
WHERE i.identity IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e');
