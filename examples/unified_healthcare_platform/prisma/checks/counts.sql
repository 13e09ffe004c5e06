-- How many rows has each table?
SELECT 'User' AS "table", count(*) AS "rows" FROM "User"
UNION ALL SELECT 'Patient', count(*) FROM "Patient"
UNION ALL SELECT 'Provider', count(*) FROM "Provider"
UNION ALL SELECT 'Appointment', count(*) FROM "Appointment"
UNION ALL SELECT 'Subscription', count(*) FROM "Subscription";
