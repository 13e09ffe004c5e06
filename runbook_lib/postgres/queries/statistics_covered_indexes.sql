-- Which indexes could go, because another one on the same table begins with the same columns? (Same access method, operator
-- classes, collations and order, same predicate. A unique index is covered only by an equal unique one; of two equal ones
-- the later is named. One that a constraint stands on is never named.)
WITH i AS (
  SELECT x.indexrelid AS oid, x.indrelid, x.indisunique, c.relam, c.relname, n.nspname, c.reloptions, x.indnkeyatts, x.indnatts,
         (string_to_array(x.indkey::text, ' '))[1:x.indnkeyatts] AS keys, string_to_array(x.indclass::text, ' ') AS classes,
         string_to_array(x.indcollation::text, ' ') AS collations, string_to_array(x.indoption::text, ' ') AS options,
         coalesce(pg_get_expr(x.indpred, x.indrelid), '') AS predicate, coalesce(pg_get_expr(x.indexprs, x.indrelid), '') AS expressions
  FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_am AS a ON a.oid = c.relam
  WHERE x.indisvalid AND a.amname = 'btree' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
)
SELECT format('%I.%I', i.nspname, i.relname) AS name, string_agg(format('%I.%I', o.nspname, o.relname), ', ' ORDER BY o.oid) AS covered_by
FROM i JOIN i AS o ON o.indrelid = i.indrelid AND o.oid <> i.oid
WHERE i.indnatts = i.indnkeyatts AND i.predicate = o.predicate AND i.expressions = o.expressions
  AND o.keys[1:i.indnkeyatts] = i.keys AND o.classes[1:i.indnkeyatts] = i.classes
  AND o.collations[1:i.indnkeyatts] = i.collations AND o.options[1:i.indnkeyatts] = i.options
  AND (NOT i.indisunique OR o.indisunique AND o.keys = i.keys)
  AND (o.keys <> i.keys OR o.indisunique > i.indisunique OR o.indisunique = i.indisunique AND (o.indnatts > i.indnatts OR o.oid < i.oid))
  AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.oid)
GROUP BY 1
ORDER BY 1;
