-- Which tables are published to logical subscribers?
SELECT quote_ident(p.pubname) AS name, nullif(p.puballtables, false) AS all_tables,
       array_remove(ARRAY[CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                          CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END], NULL) AS operations,
       ARRAY(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_publication_rel AS r
             JOIN pg_class AS c ON c.oid = r.prrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE r.prpubid = p.oid ORDER BY 1) AS tables,
       pg_get_userbyid(p.pubowner) AS owner
FROM pg_publication AS p;
