-- What does a healthcare application's database of about 1.5 GB look like? All of it is made up from numbers.
-- Wants `SET bench.scale = 1; SET bench.tables = 300` first. The parts between empty lines after the first can run side by side.
CREATE TYPE "AppointmentStatus" AS ENUM ('SCHEDULED', 'CONFIRMED', 'COMPLETED', 'CANCELLED', 'NO_SHOW');
CREATE TYPE "Channel" AS ENUM ('IN_PERSON', 'VIDEO', 'PHONE');
CREATE TYPE "MeasurementKind" AS ENUM ('HEART_RATE', 'TEMPERATURE', 'WEIGHT', 'GLUCOSE', 'OXYGEN', 'SYSTOLIC', 'DIASTOLIC');
CREATE TABLE "Appointment" (
  id text NOT NULL, "patientId" text NOT NULL, "providerId" text NOT NULL, status "AppointmentStatus" NOT NULL, channel "Channel" NOT NULL,
  "startsAt" timestamp(3) NOT NULL, "durationMinutes" int NOT NULL, fee numeric(10, 2), "isFirstVisit" boolean NOT NULL, notes text,
  intake jsonb NOT NULL, "cancelledAt" timestamp(3), "createdAt" timestamp(3) NOT NULL, "updatedAt" timestamp(3) NOT NULL
);
CREATE TABLE "Measurement" (
  id bigint NOT NULL, "patientId" uuid NOT NULL, kind "MeasurementKind" NOT NULL, value numeric(8, 2) NOT NULL, accuracy double precision,
  "deviceId" int NOT NULL, "takenAt" timestamptz(3) NOT NULL, "isManual" boolean NOT NULL
);
CREATE TABLE "ClinicalDocument" (
  id text NOT NULL, "patientId" text NOT NULL, title text NOT NULL, body text NOT NULL, labels text[] NOT NULL, "signedOn" date,
  "createdAt" timestamp(3) NOT NULL, "updatedAt" timestamp(3) NOT NULL
);
CREATE FUNCTION pick(words text[], number int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT words[1 + abs(number) % cardinality(words)]';
CREATE FUNCTION sentence(number int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT pick('{Patient reports,Patient denies,Seen today for,Follow-up of,Family asks about,History of,Review of,Referred for}', number)
    || pick('{" mild headache"," dry cough"," back pain"," poor sleep"," dizziness"," a rash"," shortness of breath"," fatigue"," knee pain"}', number / 8)
    || ' since ' || abs(number) % 89 || pick('{" days"," weeks"," months"}', number / 7) || ', '
    || pick('{no fever,temperature normal,slightly better,unchanged,worse at night,relieved by rest,not related to meals}', number / 72)
    || pick('{"; continue medication"," (advised rest)","; blood sample taken, number ","; review with result ","; device reading "}', number / 504)
    || hashint4(number) % 100000 || '. ' $$;
DO $$ BEGIN
  FOR number IN 1..current_setting('bench.tables')::int LOOP
    EXECUTE format('CREATE TABLE small_%s (id text PRIMARY KEY, name text NOT NULL, position int NOT NULL, "isActive" boolean NOT NULL,
                    rate numeric(10, 2), settings jsonb, "createdAt" timestamp(3) NOT NULL)', number);
    EXECUTE format($f$INSERT INTO small_%1$s SELECT md5(%1$s || '-' || g)::uuid, 'Entry ' || g || ' of list %1$s', g, g %% 7 > 0, g * 0.25,
                      CASE WHEN g %% 3 = 0 THEN jsonb_build_object('colour', g %% 9, 'roles', ARRAY['PATIENT', 'PROVIDER']) END,
                      timestamp '2023-01-01' + g * interval '61.007 min' FROM generate_series(1, (current_setting('bench.scale')::float
                      * (200 + hashint4(%1$s)::bigint %% 200 * 5 + 1000))::int) AS g$f$, number);
  END LOOP;
END $$;

INSERT INTO "Appointment"
SELECT md5('a' || g)::uuid, md5('p' || hashint4(g) % 60000)::uuid, md5('d' || g % 400)::uuid,
       (enum_range(NULL::"AppointmentStatus"))[1 + abs(hashint4(g + 1)) % 5], (enum_range(NULL::"Channel"))[1 + abs(hashint4(g + 2)) % 3],
       timestamp '2022-01-03 08:00' + g % 9000 * interval '3 hours', 15 + g % 4 * 15, CASE WHEN g % 5 > 0 THEN (hashint4(g) % 40000)::numeric / 100 + 400 END,
       g % 6 = 0, CASE WHEN g % 10 > 2 THEN (SELECT string_agg(sentence(hashint4(g * 5 + k)), '') FROM generate_series(0, g % 5) AS k) END,
       jsonb_build_object('reason', pick('{check-up,pain,renewal,report}', g), 'insured', g % 3 > 0, 'score', g % 11, 'allergies', ARRAY['none known']),
       CASE WHEN g % 8 = 0 THEN timestamp '2022-01-02' + g * interval '1.337 s' END,
       timestamp '2021-12-01' + g * interval '79.123 s', timestamp '2021-12-01' + g * interval '80.321 s'
FROM generate_series(1, (current_setting('bench.scale')::float * 900000)::int) AS g;
ALTER TABLE "Appointment" ADD PRIMARY KEY (id);
CREATE INDEX ON "Appointment" ("patientId");
CREATE INDEX ON "Appointment" ("providerId", "startsAt");

INSERT INTO "Measurement"
SELECT g, md5('p' || hashint4(g) % 60000)::uuid, (enum_range(NULL::"MeasurementKind"))[1 + g % 7], (hashint4(g) % 9000)::numeric / 100 + 90,
       CASE WHEN g % 4 > 0 THEN g % 97 / 97.0 END, g % 5000, timestamptz '2022-01-01 00:00+00' + g * interval '41.009 s', g % 20 = 0
FROM generate_series(1, (current_setting('bench.scale')::float * 4000000)::int) AS g;
ALTER TABLE "Measurement" ADD PRIMARY KEY (id);
CREATE INDEX ON "Measurement" ("patientId", "takenAt");

INSERT INTO "ClinicalDocument"
SELECT md5('c' || g)::uuid, md5('p' || hashint4(g) % 60000)::uuid, 'Letter ' || g || ', ' || pick('{cardiology,surgery,radiology,general practice}', g),
       (SELECT string_agg(sentence(hashint4(g * 200 + k)), CASE WHEN k % 6 = 0 THEN E'\n' ELSE '' END) FROM generate_series(0, 5 + abs(hashint4(g)) % 300) AS k),
       ARRAY['letter', pick('{urgent,routine,copy}', g)], date '2022-01-01' + g % 1400,
       timestamp '2021-12-01' + g * interval '1234.567 s', timestamp '2021-12-02' + g * interval '1234.567 s'
FROM generate_series(1, (current_setting('bench.scale')::float * 60000)::int) AS g;
ALTER TABLE "ClinicalDocument" ADD PRIMARY KEY (id);
CREATE INDEX ON "ClinicalDocument" ("patientId");
