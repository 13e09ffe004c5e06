-- Between the rehearsal and the night somebody is registered a second time, with capitals.
INSERT INTO "User" ("id", "email", "name", "role", "updatedAt")
VALUES ('user_walk_in_900000001', 'FICTITIOUS.PATIENT.000000001@EXAMPLE.INVALID', 'Fictitious Walk-in 900000001', 'ADMIN', '2026-11-01 08:00');
