-- Which data directory has the server, and which system identifier must be found there? (Needs pg_read_all_settings.)
SELECT current_setting('data_directory') AS data, (SELECT system_identifier FROM pg_control_system()) AS identifier;
