-- Which views are there, and what do they show?
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       pg_get_viewdef(c.oid) AS definition,
       c.reloptions AS options,
       pg_get_userbyid(c.relowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
