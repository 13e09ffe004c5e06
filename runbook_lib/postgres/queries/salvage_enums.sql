-- Which enums do the columns and tables that will be dropped need, themselves or in arrays, and what are their labels?
-- SET runbook.columns, runbook.tables (JSON lists of names) name them.
SELECT format('%I.%I', tn.nspname, t.typname) AS name, array_agg(DISTINCT e.enumlabel::text) AS labels,
       (SELECT string_agg(quote_literal(o.enumlabel), ', ' ORDER BY o.enumsortorder) FROM pg_enum AS o WHERE o.enumtypid = t.oid) AS list
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS own ON own.oid = a.atttypid
JOIN pg_type AS t ON t.oid = CASE WHEN own.typelem <> 0 THEN own.typelem ELSE own.oid END AND t.typtype = 'e'
JOIN pg_namespace AS tn ON tn.oid = t.typnamespace
JOIN pg_enum AS e ON e.enumtypid = t.oid
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND (format('%I.%I', n.nspname, c.relname) IN (SELECT json_array_elements_text(current_setting('runbook.tables')::json))
    OR format('%I.%I.%I', n.nspname, c.relname, a.attname) IN (SELECT json_array_elements_text(current_setting('runbook.columns')::json)))
GROUP BY t.oid, tn.nspname, t.typname
ORDER BY 1;
