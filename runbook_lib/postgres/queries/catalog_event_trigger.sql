-- Which event triggers watch DDL?
SELECT quote_ident(t.evtname) AS name, t.evtevent AS event, t.evtfoid::regprocedure::text AS function, t.evttags AS tags,
       CASE t.evtenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'R' THEN 'on replicas' WHEN 'A' THEN 'always' END AS enabled,
       pg_get_userbyid(t.evtowner) AS owner
FROM pg_event_trigger AS t
WHERE NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e');
