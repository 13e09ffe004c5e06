-- Between the rehearsal and the night a patient is registered at the desk, whose identifiers are not numbered alike.
INSERT INTO "User" ("id", "email", "name", "role", "updatedAt")
VALUES ('user_walk_in_900000001', 'fictitious.walk.in.900000001@example.invalid', 'Fictitious Walk-in 900000001', 'PATIENT', '2026-11-01 08:00');
INSERT INTO "Patient" ("id", "userId", "medicalRecordNumber", "dateOfBirth", "preferences", "insurerName", "insuranceNumber", "updatedAt")
VALUES ('patient_walk_in_000000001', 'user_walk_in_900000001', 'FICTITIOUS-MRN-900000001', '1980-01-01', '{}', 'Imaginary Mutual',
        'FICTITIOUS-MEMBER-900000001', '2026-11-01 08:00');
