-- requires: Patient.insurerName
SELECT 'a Patient has both an insurer and a number, or neither' AS "check", count(*) AS violations
FROM "Patient" WHERE ("insurerName" IS NULL) <> ("insuranceNumber" IS NULL);
