-- Four of five patients are insured; three of a family share an insurance number.
WITH numbered AS (
  SELECT *, right("id", 9) AS number, right("id", 9)::bigint AS i FROM "User" WHERE "role" = 'PATIENT'
)
INSERT INTO "Patient"
  ("id", "userId", "medicalRecordNumber", "dateOfBirth", "preferences", "insurerName", "insuranceNumber", "createdAt",
   "updatedAt")
SELECT 'patient_' || number,
       "id",
       'FICTITIOUS-MRN-' || number,
       date '1940-01-01' + (i * 7919 % 29000)::integer,
       jsonb_build_object('language', (ARRAY['en', 'de', 'fr'])[1 + i % 3], 'reminders', i % 4 <> 0),
       CASE WHEN i % 5 <> 0 THEN (ARRAY['Imaginary Mutual', 'Example Health Fund', 'Placeholder Insurance'])[1 + i / 3 % 3] END,
       CASE WHEN i % 5 <> 0 THEN 'FICTITIOUS-MEMBER-' || lpad((i / 3)::text, 9, '0') END,
       "createdAt",
       "updatedAt"
FROM numbered
ORDER BY "id";
