-- How is what was dropped put back? The words of reinstate.sql: they live for one session, and raise where something is not as it must be.
CREATE TEMPORARY TABLE told (number int GENERATED ALWAYS AS IDENTITY, state text, name text, what text, rows bigint);
CREATE TEMPORARY TABLE silenced ("table" text, name name, enabled "char") ON COMMIT DROP;

CREATE FUNCTION pg_temp.tell(state text, name text, what text, rows bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO pg_temp.told (state, name, what, rows) VALUES ($1, $2, $3, $4)
$$;

-- Nothing is put over what is there again, and nothing can be put back where its table or key is gone.
CREATE FUNCTION pg_temp.must_be_free(target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(target) IS NOT NULL THEN
    RAISE EXCEPTION '% exists again; nothing was changed. Move it away, or take the rows out of the files by hand', target;
  END IF;
END $$;

CREATE FUNCTION pg_temp.must_fit(target text, gone text[], keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  there text[] := ARRAY(SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = to_regclass(target) AND attnum > 0 AND NOT attisdropped);
BEGIN
  IF to_regclass(target) IS NULL THEN
    RAISE EXCEPTION 'the table % is gone; nothing was changed. Bring it back first; where it was renamed, run this file by hand with its new name', target;
  ELSIF there && gone THEN
    RAISE EXCEPTION '% has a column % again; nothing was changed. Rename it, or take the values out of the files by hand', target,
      (SELECT string_agg(c, ', ') FROM unnest(gone) AS c WHERE c = ANY (there));
  ELSIF NOT there @> keys THEN
    RAISE EXCEPTION '% has no longer the key (%) by which its rows were saved; nothing was changed. Join the files by hand', target,
      array_to_string(keys, ', ');
  END IF;
END $$;

CREATE FUNCTION pg_temp.must_have_schema(target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF to_regnamespace(target) IS NULL THEN
    EXECUTE format('CREATE SCHEMA %s', target);
    PERFORM pg_temp.tell('open', target, 'the schema was made anew: its owner and privileges are to be set', NULL);
  END IF;
END $$;

CREATE FUNCTION pg_temp.must_have_enum(target text, labels text[], list text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF to_regtype(target) IS NULL THEN
    EXECUTE format('CREATE TYPE %s AS ENUM (%s)', target, list);
    PERFORM pg_temp.tell('back', target, 'the enum is back', NULL);
  ELSIF NOT (SELECT array_agg(enumlabel::text) FROM pg_enum WHERE enumtypid = to_regtype(target)) @> labels THEN
    RAISE EXCEPTION 'the enum % lacks labels that it had; nothing was changed. Add them: ALTER TYPE … ADD VALUE', target;
  END IF;
END $$;

-- Whether what was read is what was there when it was saved: the number of rows, and a fingerprint of their values.
CREATE FUNCTION pg_temp.must_hold(target text, hash text, expected_rows bigint, expected text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  held bigint;
  sum text;
BEGIN
  EXECUTE format('SELECT count(*), coalesce(sum(%s), 0)::text FROM ONLY %s', hash, target) INTO held, sum;
  IF (held, sum) IS DISTINCT FROM (expected_rows, expected) THEN
    RAISE EXCEPTION '% does not hold what was saved (% rows, % were saved; or other values); nothing was changed', target, held, expected_rows;
  END IF;
END $$;

-- A statement that data which came since may refuse: then it is said, and everything else goes on.
CREATE FUNCTION pg_temp.attempt(name text, statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN true;
EXCEPTION WHEN OTHERS THEN
  PERFORM pg_temp.tell('open', name, format('refused (SQLSTATE %s): %s', SQLSTATE, statement), NULL);
  RETURN false;
END $$;

-- The table's own triggers, and those of its partitions, stand still while its rows get their values back.
CREATE FUNCTION pg_temp.silence(target text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  each record;
BEGIN
  FOR each IN
    SELECT t.tgrelid::regclass AS "table", t.tgname AS name, t.tgenabled AS enabled
    FROM pg_trigger AS t
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
      AND t.tgrelid IN (SELECT to_regclass(target) UNION SELECT relid FROM pg_partition_tree(to_regclass(target)))
  LOOP
    INSERT INTO pg_temp.silenced VALUES (each."table", each.name, each.enabled);
    EXECUTE format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', each."table", each.name);
  END LOOP;
END $$;

CREATE FUNCTION pg_temp.unsilence() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  each record;
BEGIN
  FOR each IN DELETE FROM pg_temp.silenced RETURNING * LOOP
    EXECUTE format('ALTER TABLE ONLY %s ENABLE %s TRIGGER %I', each."table",
                   CASE each.enabled WHEN 'R' THEN 'REPLICA' WHEN 'A' THEN 'ALWAYS' ELSE '' END, each.name);
  END LOOP;
END $$;

-- The values by the key: rows deleted since are passed over, rows added since get what the column's default gives.
CREATE FUNCTION pg_temp.put_back(target text, saved text, keys text[], columns text[], filled text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  matches text := (SELECT string_agg(format('t.%s = s.%s', k, k), ' AND ') FROM unnest(keys) AS k);
  sets text := (SELECT string_agg(format('%s = s.%s', c, c), ', ') FROM unnest(columns) AS c);
  defaults text := (SELECT string_agg(format('%s = DEFAULT', c), ', ') FROM unnest(filled) AS c);
  differs text := (SELECT string_agg(format('t.%s::text COLLATE "C" IS DISTINCT FROM s.%s::text COLLATE "C"', c, c), ' OR ') FROM unnest(columns) AS c);
  back bigint;
  passed_over bigint;
  since bigint;
  wrong bigint;
BEGIN
  PERFORM pg_temp.silence(target);
  EXECUTE format('UPDATE %s AS t SET %s FROM pg_temp.%s AS s WHERE %s', target, sets, saved, matches);
  GET DIAGNOSTICS back = ROW_COUNT;
  EXECUTE format('SELECT count(*) FROM pg_temp.%s AS s WHERE NOT EXISTS (SELECT FROM %s AS t WHERE %s)', saved, target, matches) INTO passed_over;
  EXECUTE format('SELECT count(*) FROM %s AS t WHERE NOT EXISTS (SELECT FROM pg_temp.%s AS s WHERE %s)', target, saved, matches) INTO since;
  IF since > 0 AND defaults IS NOT NULL THEN
    EXECUTE format('UPDATE %s AS t SET %s WHERE NOT EXISTS (SELECT FROM pg_temp.%s AS s WHERE %s)', target, defaults, saved, matches);
  END IF;
  EXECUTE format('SELECT count(*) FROM %s AS t JOIN pg_temp.%s AS s ON %s WHERE %s', target, saved, matches, differs) INTO wrong;
  IF wrong > 0 THEN
    RAISE EXCEPTION '% rows of % did not take their saved values; nothing was changed. Look for rules on the table', wrong, target;
  END IF;
  PERFORM pg_temp.unsilence();
  PERFORM pg_temp.tell('back', target, 'rows have their saved values of ' || array_to_string(columns, ', ') || ' again, compared one by one', back);
  PERFORM pg_temp.tell('passed over', target, 'saved rows are no longer there', passed_over);
  PERFORM pg_temp.tell('since', target, CASE WHEN defaults IS NULL THEN 'rows came since and have no value'
                                             ELSE 'rows came since and have the default, where there is one' END, since);
END $$;

-- NOT NULL, and with it an identity, comes back only where every row has a value.
CREATE FUNCTION pg_temp.require_value(target text, name text, identity text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  lacking bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM %s WHERE %s IS NULL', target, name) INTO lacking;
  IF lacking > 0 THEN
    PERFORM pg_temp.tell('open', target || '.' || name, 'stays nullable: rows have no value'
                         || CASE WHEN identity IS NULL THEN '' ELSE ', and the column is no identity' END, lacking);
  ELSIF pg_temp.attempt(target || '.' || name, format('ALTER TABLE %s ALTER COLUMN %s SET NOT NULL', target, name)) AND identity IS NOT NULL THEN
    PERFORM pg_temp.attempt(target || '.' || name, format('ALTER TABLE %s ALTER COLUMN %s %s', target, name, identity));
  END IF;
END $$;
