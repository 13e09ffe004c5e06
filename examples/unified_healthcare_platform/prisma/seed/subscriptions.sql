-- Every second patient subscribes; every tenth of them had another plan before.
WITH subscriber AS (
  SELECT "userId", right("id", 9)::bigint AS i FROM "Patient" WHERE right("id", 9)::bigint % 2 = 0
), plan AS (
  SELECT "userId", i, false AS past, 1 + i / 2 % 3 AS kind, timestamp '2026-01-01' + i % 200 * interval '1 day' AS started
  FROM subscriber
  UNION ALL
  SELECT "userId", i, true, 1 + (1 + i / 2) % 3, timestamp '2025-01-01' + i % 200 * interval '1 day'
  FROM subscriber WHERE i % 20 = 0
)
INSERT INTO "Subscription"
  ("id", "userId", "plan", "status", "monthlyPrice", "startedAt", "endsAt", "createdAt", "updatedAt")
SELECT 'subscription_' || CASE WHEN past THEN 'past_' ELSE '' END || lpad(i::text, 9, '0'),
       "userId",
       (ARRAY['BASIC', 'PLUS', 'FAMILY'])[kind]::"SubscriptionPlan",
       CASE WHEN past THEN 'CANCELLED' WHEN i % 30 = 0 THEN 'PAST_DUE' ELSE 'ACTIVE' END::"SubscriptionStatus",
       (ARRAY[9.90, 19.90, 34.50])[kind],
       started,
       CASE WHEN past THEN started + interval '300 days' END,
       started,
       started
FROM plan
ORDER BY i, past;
