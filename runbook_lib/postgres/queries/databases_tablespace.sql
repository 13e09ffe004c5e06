-- In which tablespace does a new database go that was in another server's or database's? In the one of that name where it is here and
-- this role may create in it, else in that of template0, which CREATE DATABASE takes without being told (and without a right to it).
SELECT coalesce(w.spcname, t.spcname)::text AS name, coalesce(w.oid = t.oid, true) AS inherited
FROM pg_database AS d
JOIN pg_tablespace AS t ON t.oid = d.dattablespace
LEFT JOIN pg_tablespace AS w ON w.spcname = %(wanted)s AND has_tablespace_privilege(w.oid, 'CREATE')
WHERE d.datname = 'template0';
