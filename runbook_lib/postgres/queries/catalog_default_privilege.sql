-- Which privileges will objects get that are created from now on?
SELECT format('%I%s %s', pg_get_userbyid(d.defaclrole), coalesce(' in ' || quote_ident(n.nspname), ''),
              CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
                                   WHEN 'n' THEN 'schemas' ELSE 'large objects' END) AS name,
       ARRAY(SELECT a::text FROM unnest(d.defaclacl) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_default_acl AS d
LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace;
