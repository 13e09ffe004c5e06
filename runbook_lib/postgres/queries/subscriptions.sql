-- Which subscriptions are there on this server, in which databases? (Azure and others hide the catalogue from all but themselves.)
SELECT d.datname::text AS database, s.subname::text AS name, pg_get_userbyid(s.subowner)::text AS owner
FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid
ORDER BY 1, 2;
