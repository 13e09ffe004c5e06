-- Where does the server keep what is in a tablespace? One that is not there is taken for the data directory, where a new
-- database then goes. (:data is the data directory.)
SELECT coalesce('tablespace ' || quote_ident(t.spcname), 'data directory') AS place,
       coalesce(pg_tablespace_location(t.oid), %(data)s::text) AS path
FROM (SELECT) AS one
LEFT JOIN pg_tablespace AS t ON t.spcname = %(tablespace)s AND pg_tablespace_location(t.oid) <> '';
