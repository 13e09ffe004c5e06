"""The embedded default: a PostgreSQL server and the sample platform, without an account or a server of one's own."""
