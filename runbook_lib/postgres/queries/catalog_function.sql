-- Which functions, procedures and aggregates are there, and what (as a digest) do they do?
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
       CASE p.prokind WHEN 'f' THEN 'function' WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function' END AS kind,
       pg_get_function_result(p.oid) AS returns,
       pg_get_function_arguments(p.oid) AS arguments,
       l.lanname AS language,
       CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
       nullif(p.prosecdef, false) AS security_definer,
       nullif(p.proisstrict, false) AS strict,
       CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS parallel,
       p.proconfig AS settings,
       md5(concat_ws(chr(10), p.prosrc, p.probin, pg_get_function_sqlbody(p.oid), g.aggtransfn::regproc::text, g.aggfinalfn::regproc::text,
                     g.agginitval)) AS body_md5,
       pg_get_userbyid(p.proowner) AS owner,
       ARRAY(SELECT a::text FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) AS a ORDER BY a::text COLLATE "C") AS acl
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_language AS l ON l.oid = p.prolang
LEFT JOIN pg_aggregate AS g ON g.aggfnoid = p.oid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'));
