-- Which system identifier must be found in the server's data directory?
SELECT system_identifier AS identifier FROM pg_control_system();
