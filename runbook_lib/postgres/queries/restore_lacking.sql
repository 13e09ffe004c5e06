-- Which of the roles and extensions that a backup needs does this server lack? (:roles and :extensions are arrays of names.)
SELECT 'role' AS kind, 'role ' || wanted AS what
FROM unnest(%(roles)s::text[]) AS wanted
WHERE wanted NOT IN (SELECT rolname FROM pg_roles)
UNION ALL
SELECT 'extension', 'extension ' || wanted
FROM unnest(%(extensions)s::text[]) AS wanted
WHERE wanted NOT IN (SELECT quote_ident(name) FROM pg_available_extensions)
ORDER BY 1, 2;
