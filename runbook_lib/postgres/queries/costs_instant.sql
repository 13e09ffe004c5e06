-- How far is the server's WAL, and how large is this database (bytes; files that a commit will remove are counted)?
SELECT pg_current_wal_insert_lsn()::text AS lsn, pg_database_size(current_database()) AS bytes;
