-- requires: InsurancePolicy.patientId
SELECT 'InsurancePolicy.patientId names a Patient' AS "check", count(*) AS violations
FROM "InsurancePolicy" i WHERE NOT EXISTS (SELECT FROM "Patient" p WHERE p."id" = i."patientId")
UNION ALL
SELECT 'a Patient is INSURED exactly if it has an InsurancePolicy', count(*)
FROM "Patient" p
WHERE (p."coverage" = 'INSURED') <> EXISTS (SELECT FROM "InsurancePolicy" i WHERE i."patientId" = p."id");
