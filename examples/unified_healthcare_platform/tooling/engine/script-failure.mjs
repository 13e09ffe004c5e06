import { EngineError } from './errors.mjs'

const APPLYING = /apply_migration::apply_script\s+with migration_name="(.+?)"/
const LINES_BEFORE = 5

/**
 * What the server said about a migration's script. The WebAssembly engine shortens it to "external connector error"; the
 * native one answers P3018 with SQLSTATE, message and place, and keeps that text in _prisma_migrations too.
 */
export class ScriptFailure {
  #error
  #script

  constructor(error, script) {
    this.#error = error
    this.#script = script
  }

  /** The engine's report of this failure in the native engine's words; a report of anything else as it is. */
  translate(report) {
    const migration = APPLYING.exec(report)?.[1]
    if (!migration || !this.#error.severity) return null
    const meta = {
      migration_name: migration,
      database_error_code: this.#error.code,
      database_error: `${summary(this.#error)}${place(this.#error, this.#script)}\n\n${debugged(this.#error)}`,
    }
    return new EngineError(`${explanation(meta)}\n${report.slice(report.indexOf('   0: '))}`, 'P3018', meta)
  }
}

function explanation({ migration_name, database_error_code, database_error }) {
  return (
    'A migration failed to apply. New migrations cannot be applied before the error is recovered from. ' +
    'Read more about how to resolve migration issues in a production database: https://pris.ly/d/migrate-resolve\n\n' +
    `Migration name: ${migration_name}\n\n` +
    `Database error code: ${database_error_code}\n\n` +
    `Database error:\n${database_error}\n`
  )
}

function summary({ severity, message, detail, hint }) {
  return [`${severity}: ${message}`, detail && `DETAIL: ${detail}`, hint && `HINT: ${hint}`].filter(Boolean).join('\n')
}

/** The line that the server points at, and those before it. */
function place({ position }, script) {
  if (!position) return ''
  const lines = script.split('\n')
  const line = [...script].slice(0, position - 1).join('').split('\n').length
  const before = []
  for (let number = Math.max(0, line - LINES_BEFORE); number < line; number++) {
    before.push(`\x1b[1m${String(number).padStart(3)}\x1b[0m ${lines[number - 1] ?? ''}`.trimEnd())
  }
  return `\n\nPosition:\n${before.join('\n')}\n\x1b[1m${String(line).padStart(3)}\x1b[1;31m ${lines[line - 1]}\x1b[0m`
}

/** The server's answer field by field, as the native engine's PostgreSQL library prints it. */
function debugged(error) {
  const severity = error.severity[0] + error.severity.slice(1).toLowerCase()
  const place = error.position ? `Some(Original(${error.position}))` : 'None'
  const text = (value) => (value === undefined ? 'None' : `Some(${JSON.stringify(value)})`)
  return (
    `DbError { severity: ${JSON.stringify(error.severity)}, parsed_severity: Some(${severity}), ` +
    `code: SqlState(E${error.code}), message: ${JSON.stringify(error.message)}, ` +
    `detail: ${text(error.detail)}, hint: ${text(error.hint)}, position: ${place}, where_: ${text(error.where)}, ` +
    `schema: ${text(error.schema)}, table: ${text(error.table)}, column: ${text(error.column)}, ` +
    `datatype: ${text(error.dataType)}, constraint: ${text(error.constraint)}, ` +
    `file: ${text(error.file)}, line: ${error.line ? `Some(${error.line})` : 'None'}, routine: ${text(error.routine)} }`
  )
}
