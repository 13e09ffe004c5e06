-- Is this role bound by rights, and as which roles may it not act? (:may is MEMBER, from PostgreSQL 16 on SET.)
SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser, quote_ident(current_user) AS me,
       (SELECT rolname::text FROM pg_roles WHERE oid = 10) AS bootstrap,
       (SELECT coalesce(json_object_agg(rolname, quote_ident(rolname)), '{}') FROM pg_roles WHERE NOT pg_has_role(current_user, oid, %(may)s)) AS not_ours,
       ARRAY(SELECT quote_ident(extname) FROM pg_extension WHERE NOT pg_has_role(current_user, extowner, 'USAGE') AND extname <> 'plpgsql') AS of_others;
