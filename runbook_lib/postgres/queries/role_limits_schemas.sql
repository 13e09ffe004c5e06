-- Which roles own something in a schema in which they may not create? (:owners is an array of {schema, owner}.)
SELECT DISTINCT w.schema, w.owner
FROM jsonb_to_recordset(%(owners)s::jsonb) AS w (schema text, owner text)
JOIN pg_namespace AS n ON quote_ident(n.nspname) = w.schema
JOIN pg_roles AS r ON r.rolname = w.owner
WHERE NOT has_schema_privilege(r.oid, n.oid, 'CREATE')
ORDER BY 1, 2;
