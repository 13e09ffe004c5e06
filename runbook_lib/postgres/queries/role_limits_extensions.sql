-- Which extensions that are not installed here need a superuser by what they say of themselves? (A managed service may allow some.)
SELECT quote_ident(x.name) AS name
FROM pg_available_extension_versions AS x
JOIN pg_available_extensions AS a ON a.name = x.name AND a.default_version = x.version
WHERE x.superuser AND NOT x.trusted AND a.installed_version IS NULL;
