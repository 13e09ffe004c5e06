-- What goes with the columns and tables that will be dropped, by which statement does it come back, and in which order?
-- SET runbook.columns, runbook.tables (JSON lists of names) name them. A constraint comes back unchecked and is checked
-- afterwards (`check`), so that rows which came since do not keep it away. `statement` is null where none is known here.
WITH columns AS (
  SELECT a.*, format('%I.%I', n.nspname, c.relname) AS "table", t.typstorage
  FROM pg_attribute AS a
  JOIN pg_type AS t ON t.oid = a.atttypid
  JOIN pg_class AS c ON c.oid = a.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
    AND format('%I.%I.%I', n.nspname, c.relname, a.attname) IN (SELECT json_array_elements_text(current_setting('runbook.columns')::json))
), tables AS (
  SELECT c.oid
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE format('%I.%I', n.nspname, c.relname) IN (SELECT json_array_elements_text(current_setting('runbook.tables')::json))
), standing AS (
  SELECT DISTINCT d.classid, d.objid, d.objsubid
  FROM (SELECT attrelid AS relation, attnum::int AS number FROM columns UNION ALL SELECT oid, NULL FROM tables) AS x
  JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = x.relation AND (x.number IS NULL OR d.refobjsubid = x.number)
  WHERE d.deptype IN ('n', 'a')
), constraints AS (
  SELECT k.oid, k.contype, k.conname, k.convalidated, c.relkind, format('%I.%I', n.nspname, c.relname) AS "table"
  FROM standing AS s
  JOIN pg_constraint AS k ON s.classid = 'pg_constraint'::regclass AND k.oid = s.objid
  JOIN pg_class AS c ON c.oid = k.conrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE k.conparentid = 0 AND k.contype IN ('p', 'u', 'x', 'c', 'f') AND (k.contype = 'f' OR k.conrelid NOT IN (SELECT oid FROM tables))
)
SELECT 1 AS step, 'column ' || x.name AS what, x.statement, NULL AS "check"
FROM (
  SELECT format('%s.%I', k."table", k.attname) AS name, v.statement
  FROM columns AS k
  CROSS JOIN LATERAL (VALUES
    (CASE WHEN k.attstorage <> k.typstorage
          THEN format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', k."table", k.attname,
                      CASE k.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END) END),
    (CASE k.attcompression WHEN 'p' THEN format('ALTER TABLE %s ALTER COLUMN %I SET COMPRESSION pglz', k."table", k.attname)
                           WHEN 'l' THEN format('ALTER TABLE %s ALTER COLUMN %I SET COMPRESSION lz4', k."table", k.attname) END),
    (CASE WHEN k.attstattarget >= 0 THEN format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', k."table", k.attname, k.attstattarget) END),
    (CASE WHEN col_description(k.attrelid, k.attnum) IS NOT NULL
          THEN format('COMMENT ON COLUMN %s.%I IS %L', k."table", k.attname, col_description(k.attrelid, k.attnum)) END)
  ) AS v (statement)
  WHERE v.statement IS NOT NULL
  UNION ALL
  SELECT format('%s.%I', k."table", k.attname),
         format('GRANT %s (%I) ON %s TO %s%s', g.privilege_type, k.attname, k."table",
                CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM columns AS k
  CROSS JOIN LATERAL aclexplode(k.attacl) AS g
) AS x
UNION ALL
SELECT CASE k.contype WHEN 'f' THEN 4 WHEN 'c' THEN 3 ELSE 2 END, format('constraint %s.%I', k."table", k.conname),
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', k."table", k.conname, pg_get_constraintdef(k.oid))
         || CASE WHEN k.contype IN ('c', 'f') AND k.convalidated AND k.relkind <> 'p' THEN ' NOT VALID' ELSE '' END,
       CASE WHEN k.contype IN ('c', 'f') AND k.convalidated AND k.relkind <> 'p'
            THEN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k."table", k.conname) END
FROM constraints AS k
UNION ALL
SELECT 3, format('index %I.%I', n.nspname, c.relname),
       replace(pg_get_indexdef(c.oid), format(' ON ONLY %s USING ', i.indrelid::regclass), format(' ON %s USING ', i.indrelid::regclass)), NULL
FROM standing AS s
JOIN pg_class AS c ON s.classid = 'pg_class'::regclass AND c.oid = s.objid AND c.relkind IN ('i', 'I') AND NOT c.relispartition
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_index AS i ON i.indexrelid = c.oid AND i.indrelid NOT IN (SELECT oid FROM tables)
UNION ALL
SELECT 5, format('trigger %I on %s', t.tgname, t.tgrelid::regclass), pg_get_triggerdef(t.oid), NULL
FROM standing AS s
JOIN pg_trigger AS t ON s.classid = 'pg_trigger'::regclass AND t.oid = s.objid AND NOT t.tgisinternal AND t.tgrelid NOT IN (SELECT oid FROM tables)
UNION ALL
SELECT 5, format('statistics %s', x.stxname), pg_get_statisticsobjdef(x.oid), NULL
FROM standing AS s
JOIN pg_statistic_ext AS x ON s.classid = 'pg_statistic_ext'::regclass AND x.oid = s.objid AND x.stxrelid NOT IN (SELECT oid FROM tables)
UNION ALL
SELECT 6, pg_describe_object(s.classid, s.objid, s.objsubid), NULL, NULL
FROM standing AS s
WHERE s.classid IN ('pg_proc'::regclass, 'pg_publication_rel'::regclass)
   OR EXISTS (SELECT FROM pg_policy AS p WHERE s.classid = 'pg_policy'::regclass AND p.oid = s.objid AND p.polrelid NOT IN (SELECT oid FROM tables))
   OR EXISTS (SELECT FROM pg_attrdef AS e WHERE s.classid = 'pg_attrdef'::regclass AND e.oid = s.objid AND e.adrelid NOT IN (SELECT oid FROM tables)
                AND NOT EXISTS (SELECT FROM columns AS k WHERE k.attrelid = e.adrelid AND k.attnum = e.adnum))
ORDER BY 1, 2, 3;
