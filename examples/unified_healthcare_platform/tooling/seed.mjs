// Fills an empty database of the deployed release with fictitious data, which the server makes itself:
// npm run db:seed -- --rows 200000
import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { bulkLoad } from './bulk-load.mjs'
import { withDatabase } from './database.mjs'

const SQL = path.join(import.meta.dirname, '../prisma/seed')

const { values } = parseArgs({ options: { rows: { type: 'string', default: '200000' } } })
const rows = Number(values.rows)
if (!Number.isInteger(rows) || rows < 1 || rows > 100_000_000) {
  console.error('--rows must be a whole number of appointments, from 1 to 100000000.')
  process.exit(2)
}

await withDatabase(async (session) => {
  await refuseUnlessEmpty(session)
  await session.query('BEGIN')
  await session.query("SELECT set_config('seed.rows', $1, true)", [String(rows)])
  // A fill that was rolled back has advanced the sequence, and the numbers would differ.
  await session.query(`SELECT setval('"Appointment_id_seq"', 1, false)`)
  for (const step of ['users', 'patients', 'providers']) await run(session, step)
  await bulkLoad(session, '"Appointment"', () => run(session, 'appointments'))
  await run(session, 'subscriptions')
  await session.query('COMMIT')
  await session.query('ANALYZE')
})

async function refuseUnlessEmpty(session) {
  const { rows: columns } = await session.query(
    `SELECT FROM information_schema.columns
     WHERE table_schema = current_schema AND table_name = 'Patient' AND column_name = 'insurerName'`,
  )
  if (columns.length === 0) {
    throw new Error('the tables of the deployed release (the first four migrations, and no more) were not found.')
  }
  const { rows: users } = await session.query('SELECT FROM "User" LIMIT 1')
  if (users.length > 0) throw new Error('the database has users already; only an empty one is filled.')
}

async function run(session, step) {
  const started = performance.now()
  const { rowCount } = await session.query(fs.readFileSync(path.join(SQL, `${step}.sql`), 'utf8'))
  console.log(`${step}: ${rowCount} rows in ${((performance.now() - started) / 1000).toFixed(1)} s`)
}
