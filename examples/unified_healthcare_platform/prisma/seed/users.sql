-- One user for each patient and provider, and one administrator.
WITH size AS (
  SELECT greatest(100, current_setting('seed.rows')::bigint / 20) AS patients,
         greatest(10, current_setting('seed.rows')::bigint / 2000) AS providers
)
INSERT INTO "User" ("id", "email", "name", "role", "isActive", "createdAt", "updatedAt")
SELECT 'user_patient_' || lpad(i::text, 9, '0'),
       'fictitious.patient.' || lpad(i::text, 9, '0') || '@example.invalid',
       'Fictitious Patient ' || lpad(i::text, 9, '0'),
       'PATIENT'::"UserRole",
       i % 50 <> 0,
       timestamp '2024-01-01 08:00' + i % 600 * interval '1 day',
       timestamp '2026-09-01 08:00'
FROM size, generate_series(1, size.patients) AS i
UNION ALL
SELECT 'user_provider_' || lpad(i::text, 9, '0'),
       'fictitious.provider.' || lpad(i::text, 9, '0') || '@example.invalid',
       'Fictitious Provider ' || lpad(i::text, 9, '0'),
       'PROVIDER',
       true,
       timestamp '2024-01-01 08:00',
       timestamp '2026-09-01 08:00'
FROM size, generate_series(1, size.providers) AS i
UNION ALL
SELECT 'user_admin_000000001', 'fictitious.admin@example.invalid', 'Fictitious Administrator', 'ADMIN', true,
       timestamp '2024-01-01 08:00', timestamp '2026-09-01 08:00';
