-- Which domains are there, over which type and with which rules?
SELECT format('%I.%I', n.nspname, t.typname) AS name,
       format_type(t.typbasetype, t.typtypmod) AS type,
       nullif(t.typnotnull, false) AS not_null,
       t.typdefault AS "default",
       CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::regcollation::text END AS collation,
       ARRAY(SELECT format('%I %s', k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint AS k
             WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY k.conname) AS checks,
       pg_get_userbyid(t.typowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_type AS t
JOIN pg_namespace AS n ON n.oid = t.typnamespace
JOIN pg_type AS b ON b.oid = t.typbasetype
WHERE t.typtype = 'd' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e');
