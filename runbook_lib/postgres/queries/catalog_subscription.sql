-- Which subscriptions bring rows from elsewhere into this database? (Never their connection strings.)
SELECT quote_ident(s.subname) AS name, s.subenabled AS enabled, s.subpublications AS publications, pg_get_userbyid(s.subowner) AS owner
FROM pg_subscription AS s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
