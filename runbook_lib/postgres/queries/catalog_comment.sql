-- What is written about the objects of this database?
SELECT format('%s %s', i.type, i.identity) AS name, t.description AS text
FROM pg_description AS t
CROSS JOIN LATERAL pg_identify_object(t.classoid, t.objoid, t.objsubid) AS i
WHERE t.objoid >= 16384 AND i.identity IS NOT NULL
  AND coalesce(i.schema, '') !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = t.classoid AND d.objid = t.objoid AND d.deptype = 'e');
