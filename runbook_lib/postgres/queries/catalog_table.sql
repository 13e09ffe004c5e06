-- Which tables are there, of what kind, whose are they, who may do what with them, and in which order are their columns?
-- A table that inherits is left without that order: a restore puts the inherited columns first.
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table' END AS kind,
       CASE c.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' ELSE 'permanent' END AS persistence,
       pg_get_userbyid(c.relowner) AS owner,
       nullif(c.relrowsecurity, false) AS row_security,
       nullif(c.relforcerowsecurity, false) AS row_security_forced,
       CASE WHEN c.relispartition THEN i.parents[1] END AS partition_of,
       CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS partition_bound,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
       CASE WHEN NOT c.relispartition THEN i.parents END AS inherits,
       CASE WHEN i.parents IS NULL OR c.relispartition THEN k.columns END AS columns,
       c.reloptions || ARRAY(SELECT 'toast.' || o FROM pg_class AS toast, unnest(toast.reloptions) AS o WHERE toast.oid = c.reltoastrelid) AS options,
       coalesce(c.relam >= 16384, false) AS custom_access_method,
       CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' END AS replica_identity,
       nullif(m.amname, 'heap') AS access_method,
       s.spcname AS tablespace,
       ARRAY(SELECT a::text FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_am AS m ON m.oid = c.relam
LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
LEFT JOIN (SELECT h.inhrelid, array_agg(format('%I.%I', pn.nspname, p.relname) ORDER BY h.inhseqno) AS parents
           FROM pg_inherits AS h
           JOIN pg_class AS p ON p.oid = h.inhparent
           JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
           GROUP BY h.inhrelid) AS i ON i.inhrelid = c.oid
LEFT JOIN (SELECT a.attrelid, array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns
           FROM pg_attribute AS a
           WHERE a.attnum > 0 AND NOT a.attisdropped
           GROUP BY a.attrelid) AS k ON k.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
