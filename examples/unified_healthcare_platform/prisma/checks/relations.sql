-- How many rows name a row that does not exist? A foreign key that is missing or NOT VALID would let them in.
SELECT 'Patient.userId names a User' AS "check", count(*) AS violations
FROM "Patient" p WHERE NOT EXISTS (SELECT FROM "User" u WHERE u."id" = p."userId")
UNION ALL
SELECT 'Provider.userId names a User', count(*)
FROM "Provider" p WHERE NOT EXISTS (SELECT FROM "User" u WHERE u."id" = p."userId")
UNION ALL
SELECT 'Appointment.patientId names a Patient', count(*)
FROM "Appointment" a WHERE NOT EXISTS (SELECT FROM "Patient" p WHERE p."id" = a."patientId")
UNION ALL
SELECT 'Appointment.providerId names a Provider', count(*)
FROM "Appointment" a WHERE NOT EXISTS (SELECT FROM "Provider" p WHERE p."id" = a."providerId")
UNION ALL
SELECT 'Appointment.cancelledById names a User', count(*)
FROM "Appointment" a
WHERE a."cancelledById" IS NOT NULL AND NOT EXISTS (SELECT FROM "User" u WHERE u."id" = a."cancelledById")
UNION ALL
SELECT 'Subscription.userId names a User', count(*)
FROM "Subscription" s WHERE NOT EXISTS (SELECT FROM "User" u WHERE u."id" = s."userId")
ORDER BY "check";
