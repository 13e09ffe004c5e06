// npm run db:validate: counts the rows that break a rule of prisma/checks. Ends with 0 where there are none, with 1 where
// there are some, and with 2 where it could not look. Prints counts only: no row's content.
import fs from 'node:fs'
import path from 'node:path'
import { withDatabase } from './database.mjs'

const SQL = path.join(import.meta.dirname, '../prisma/checks')
const CHECKS = ['relations', 'invariants', 'insurance_columns', 'insurance_policies']

const HAS_COLUMN = `
  SELECT FROM information_schema.columns
  WHERE table_schema = current_schema AND table_name = $1 AND column_name = $2`

await withDatabase(async (session) => {
  await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY') // all counts describe one instant
  for (const row of await ask(session, 'counts')) console.log(`${row.table}: ${row.rows} rows`)
  const results = []
  for (const name of CHECKS) results.push(...(await ask(session, name)))
  for (const { check, violations } of results) console.log(`${violations === '0' ? 'ok  ' : 'FAIL'} ${check}: ${violations}`)
  const broken = results.filter(({ violations }) => violations !== '0').length
  console.log(broken === 0 ? `All ${results.length} checks passed.` : `${broken} of ${results.length} checks failed.`)
  process.exitCode = broken === 0 ? 0 : 1
})

async function ask(session, name) {
  const sql = fs.readFileSync(path.join(SQL, `${name}.sql`), 'utf8')
  return (await applies(session, sql)) ? (await session.query(sql)).rows : []
}

/** A file that begins with `-- requires: Table.column` is for releases that have this column. */
async function applies(session, sql) {
  const [, table, column] = /^-- requires: (\w+)\.(\w+)/.exec(sql) ?? []
  return !table || (await session.query(HAS_COLUMN, [table, column])).rows.length > 0
}
