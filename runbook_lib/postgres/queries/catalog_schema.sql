-- Which schemas are there, whose are they, and who may use them?
SELECT quote_ident(n.nspname) AS name,
       pg_get_userbyid(n.nspowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_namespace AS n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';
