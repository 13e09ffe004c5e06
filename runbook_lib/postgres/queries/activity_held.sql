-- Which sessions of this run are at work in this database, and which locks do they hold? Readers' locks are left out.
SELECT format('session %s (%s) %s, %s', a.pid, a.application_name, a.state, coalesce('holds ' || l.locks, 'holds no lock')) AS it
FROM pg_stat_activity AS a
CROSS JOIN LATERAL (SELECT string_agg(DISTINCT k.mode || ' on ' || k.relation::regclass, ', ') AS locks
                    FROM pg_locks AS k
                    WHERE k.pid = a.pid AND k.granted AND k.relation IS NOT NULL AND k.mode <> 'AccessShareLock'
                          AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS l
WHERE a.datname = current_database() AND a.application_name LIKE %s AND a.pid <> pg_backend_pid() AND a.state <> 'idle'
ORDER BY a.pid;
