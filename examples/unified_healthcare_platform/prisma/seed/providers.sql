INSERT INTO "Provider" ("id", "userId", "licenceNumber", "specialty", "createdAt", "updatedAt")
SELECT 'provider_' || right("id", 9),
       "id",
       'FICTITIOUS-LICENCE-' || right("id", 9),
       (ARRAY['Cardiology', 'Dermatology', 'General practice', 'Neurology', 'Paediatrics'])[1 + right("id", 9)::bigint % 5],
       "createdAt",
       "updatedAt"
FROM "User"
WHERE "role" = 'PROVIDER'
ORDER BY "id";
