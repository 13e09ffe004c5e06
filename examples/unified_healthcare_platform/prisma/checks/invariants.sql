-- How many rows break a rule that no constraint states?
SELECT 'a User of role PATIENT is a Patient' AS "check", count(*) AS violations
FROM "User" u WHERE u."role" = 'PATIENT' AND NOT EXISTS (SELECT FROM "Patient" p WHERE p."userId" = u."id")
UNION ALL
SELECT 'a User of role PROVIDER is a Provider', count(*)
FROM "User" u WHERE u."role" = 'PROVIDER' AND NOT EXISTS (SELECT FROM "Provider" p WHERE p."userId" = u."id")
UNION ALL
SELECT 'an Appointment lasts 5 to 480 minutes', count(*)
FROM "Appointment" WHERE "durationMinutes" NOT BETWEEN 5 AND 480
UNION ALL
SELECT 'only a cancelled Appointment has a cancelledById', count(*)
FROM "Appointment" WHERE "cancelledById" IS NOT NULL AND "status" <> 'CANCELLED'
UNION ALL
SELECT 'a Subscription ends after it started', count(*)
FROM "Subscription" WHERE "endsAt" <= "startedAt"
UNION ALL
SELECT 'a Subscription has a price', count(*)
FROM "Subscription" WHERE "monthlyPrice" <= 0
UNION ALL
SELECT 'a User has one active Subscription at most', count(*)
FROM (SELECT FROM "Subscription" WHERE "status" = 'ACTIVE' GROUP BY "userId" HAVING count(*) > 1) AS several
ORDER BY "check";
