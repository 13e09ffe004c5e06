-- One of everything that a dump, a fingerprint and a catalogue have to get right.
CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE SCHEMA "Odd schema";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN short AS varchar(20) NOT NULL;
CREATE TABLE kinds (
  id bigserial PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(12, 2), f4 float4, f8 float8, m money,
  t text, vc varchar(30), c char(5), nm name, by bytea, d date, ti time, tz timetz, ts timestamp, tstz timestamptz, iv interval,
  u uuid, j json, jb jsonb, x xml, ip inet, ci cidr, mac macaddr, bt bit(3), vb varbit, p point, bx box, cir circle,
  ia int[], ta text[], r int4range, mr int4multirange, e mood, ea mood[], co pair, dom positive, sh short DEFAULT 's', ct citext, hs hstore,
  tsv tsvector, lsn pg_lsn, rc regclass, doubled int8 GENERATED ALWAYS AS (i8 * 2) STORED
);
INSERT INTO kinds (b, i2, i4, i8, n, n2, f4, f8, m, t, vc, c, nm, by, d, ti, tz, ts, tstz, iv, u, j, jb, ip, ci, mac, bt, vb, p, bx, cir,
                   ia, ta, r, mr, e, ea, co, dom, ct, hs, tsv, lsn, rc)
SELECT g % 2 = 0, g, g, g::int8 * 10000000000, g * 1.10, g * 1.25, g * 1.1, g / 3.0, g::numeric::money, 'text ' || g, 'Grüße ' || g, 'c' || g, 'n' || g,
       decode(lpad(to_hex(g), 4, '0'), 'hex'), date '2024-01-01' + g, time '10:00' + g * interval '1 s', timetz '10:00+02', timestamp '2024-01-01' + g * interval '1 us',
       timestamptz '2024-01-01 00:00+00' + g * interval '1 h', g * interval '1 day', md5(g::text)::uuid, json_build_object('g', g), jsonb_build_object('g', g),
       '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', b'101', b'1', point(g, 1), box(point(0, 0), point(g, g)),
       circle(point(0, 0), g), ARRAY[g, NULL], ARRAY['a', ''], int4range(1, g + 1), int4multirange(int4range(1, g + 1)), (ARRAY['sad', 'ok', 'happy']::mood[])[1 + g % 3],
       ARRAY['ok']::mood[], ROW(g, 'p')::pair, g, 'Ci' || g, hstore('k', g::text), to_tsvector('simple', 'word ' || g), '0/16B3740', 'kinds'
FROM generate_series(1, 200) AS g;
INSERT INTO kinds DEFAULT VALUES;
COMMENT ON TABLE kinds IS 'every type';
COMMENT ON COLUMN kinds.t IS 'a text';
ALTER TABLE kinds ALTER COLUMN t SET STORAGE EXTERNAL, ALTER COLUMN i4 SET STATISTICS 500;
CREATE TABLE "Odd schema"."Table with ""quotes"" and Größe, of sixty-three bytes, as we love it" ("Co lumn" int, "select" text, "ä" text DEFAULT 'it''s');
INSERT INTO "Odd schema"."Table with ""quotes"" and Größe, of sixty-three bytes, as we love it" SELECT g, 'x' || g FROM generate_series(1, 50) AS g;
CREATE TABLE "no key" (a int, b int);
INSERT INTO "no key" SELECT 1, 1 FROM generate_series(1, 10);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE wide (id int PRIMARY KEY, body text);
INSERT INTO wide SELECT g, string_agg(md5(h::text || g), '') FROM generate_series(1, 20) AS g, generate_series(1, 400) AS h GROUP BY g;
CREATE TABLE visit (id int, at date, room text CHECK (room IN ('a', 'b', 'c')), note varchar(9) CHECK (note IN ('x', 'y')), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE visit_2024 PARTITION OF visit FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE visit_rest PARTITION OF visit DEFAULT;
CREATE INDEX visit_room ON visit (room) WHERE room <> 'a';
INSERT INTO visit SELECT g, date '2023-12-01' + g, 'b', 'x' FROM generate_series(1, 100) AS g;
CREATE TABLE parent (id int PRIMARY KEY, name text COLLATE "C");
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (2, 'c', 3);
CREATE TABLE secret (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner text, parent int) WITH (fillfactor = 70);
ALTER TABLE secret ADD CONSTRAINT late FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE NOT VALID;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secret FOR SELECT USING (owner = current_user);
INSERT INTO secret (owner) SELECT 'o' || g FROM generate_series(1, 30) AS g;
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v jsonb);
INSERT INTO cache VALUES ('a', '{}');
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE PROCEDURE nop() LANGUAGE sql AS '';
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE TRIGGER touched BEFORE UPDATE ON wide FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW happy AS SELECT id, t FROM kinds WHERE e = 'happy' AND twice(i4) > 0;
CREATE MATERIALIZED VIEW counted AS SELECT e, count(*) FROM kinds GROUP BY e;
CREATE UNIQUE INDEX counted_e ON counted (e);
CREATE INDEX kinds_expr ON kinds (lower(t), (jb ->> 'g')) INCLUDE (i4);
CREATE STATISTICS kinds_stat (dependencies) ON i2, i4 FROM kinds;
CREATE SEQUENCE "Odd schema".counter START 5 INCREMENT -2 MINVALUE -1000 MAXVALUE 5;
SELECT nextval('"Odd schema".counter') FROM generate_series(1, 3);
CREATE RULE no_delete AS ON DELETE TO cache DO INSTEAD NOTHING;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
GRANT SELECT ON kinds TO PUBLIC;
REVOKE EXECUTE ON FUNCTION twice FROM PUBLIC;
GRANT UPDATE (t) ON kinds TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
SELECT lo_from_bytea(0, 'large object');
