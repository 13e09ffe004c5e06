-- May this role read which blocks the write-ahead log names (pg_walinspect, 16 and later), and under which name? And is everything in the log?
SELECT format('%I.%I', n.nspname, p.proname) AS function, current_setting('wal_level') <> 'minimal' AS complete
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_walinspect'
WHERE p.proname = 'pg_get_wal_block_info' AND p.pronargs = 3
  AND has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE');
