-- Which materialized views are there, what do they hold, and are they filled?
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       pg_get_viewdef(c.oid) AS definition,
       c.relispopulated AS populated,
       c.reloptions || ARRAY(SELECT 'toast.' || o FROM pg_class AS toast, unnest(toast.reloptions) AS o WHERE toast.oid = c.reltoastrelid) AS options,
       coalesce(c.relam >= 16384, false) AS custom_access_method,
       s.spcname AS tablespace,
       pg_get_userbyid(c.relowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
WHERE c.relkind = 'm' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
