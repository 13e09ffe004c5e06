-- How much do the databases of this server take, as far as this role may know? (It reads every file's size.)
SELECT sum(CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END)::bigint AS bytes
FROM pg_database AS d;
