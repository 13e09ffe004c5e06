-- 480 days around 1 October 2026: what lies before it is completed, missed or cancelled, the rest is to come.
WITH size AS (
  SELECT (SELECT count(*) FROM "Patient") AS patients, (SELECT count(*) FROM "Provider") AS providers
), numbered AS (
  SELECT i,
         lpad((1 + i * 7919 % patients)::text, 9, '0') AS patient,
         lpad((1 + i * 104729 % providers)::text, 9, '0') AS provider,
         timestamp '2025-09-01 08:00' + i * 31 % 480 * interval '1 day' + i * 17 % 36 * interval '15 minutes' AS moment
  FROM size, generate_series(1, current_setting('seed.rows')::bigint) AS i
), decided AS (
  SELECT *,
         CASE WHEN i % 10 = 0 THEN 'CANCELLED'
              WHEN moment >= '2026-10-01' THEN CASE WHEN i % 3 = 0 THEN 'CONFIRMED' ELSE 'SCHEDULED' END
              WHEN i % 10 = 1 THEN 'NO_SHOW'
              ELSE 'COMPLETED' END::"AppointmentStatus" AS status
  FROM numbered
)
INSERT INTO "Appointment"
  ("patientId", "providerId", "scheduledAt", "durationMinutes", "status", "reason", "details", "cancelledById",
   "createdAt", "updatedAt")
SELECT 'patient_' || patient,
       'provider_' || provider,
       moment,
       15 * (1 + i % 4),
       status,
       CASE WHEN i % 5 <> 0 THEN 'Fictitious reason ' || i % 100 END,
       jsonb_build_object('room', 'R' || i % 40, 'firstVisit', i % 8 = 0),
       CASE WHEN status = 'CANCELLED' THEN CASE WHEN i % 20 = 0 THEN 'user_patient_' || patient ELSE 'user_admin_000000001' END END,
       moment - interval '14 days',
       moment - interval '7 days'
FROM decided
ORDER BY i;
