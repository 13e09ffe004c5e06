-- How many bytes of temporary files has this database written so far?
SELECT temp_bytes::bigint AS bytes FROM pg_stat_database WHERE datname = current_database();
