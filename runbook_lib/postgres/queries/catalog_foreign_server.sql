-- Which foreign servers are reached from here? (Only the names of their options: values may be secrets.)
SELECT quote_ident(s.srvname) AS name, w.fdwname AS wrapper, s.srvversion AS version,
       ARRAY(SELECT option_name FROM pg_options_to_table(s.srvoptions) ORDER BY 1) AS options,
       pg_get_userbyid(s.srvowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(s.srvacl, acldefault('S', s.srvowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_foreign_server AS s
JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw;
