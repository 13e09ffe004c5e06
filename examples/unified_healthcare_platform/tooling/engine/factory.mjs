import { randomUUID } from 'node:crypto'
import { EngineError } from './errors.mjs'
import { ColumnTypeEnum, PrismaPg } from './modules.mjs'
import { ScriptFailure } from './script-failure.mjs'
import { Session } from './session.mjs'
import { Styles } from './styles.mjs'
import { runScript } from './transactions.mjs'

const CHAR_OID = 18
const TEXT_OID = 25
const EMPTY_DATABASE = `
  DO $$ DECLARE schema name; BEGIN
    FOR schema IN SELECT nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\\_%'
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', schema); END LOOP;
    CREATE SCHEMA public;
  END $$`

/** Connects the engine to the database, and to the shadow databases that it replays migrations in. */
export class PostgresFactory {
  provider = 'postgres'
  adapterName = 'offline-schema-engine'
  #config
  #mode
  #sessions = new Set()
  #shadows = new Map() // name → its creation
  #connectionError = null
  #scriptFailure = null

  constructor(config, mode) {
    this.#config = config
    this.#mode = mode
  }

  connect() {
    return this.#open(this.#config)
  }

  connectToShadowDb() {
    const { shadow } = this.#config
    return (shadow ? this.#openConfiguredShadow(shadow) : this.#openOwnShadow()).catch((error) => this.#failToConnect(error))
  }

  /** Takes leave of the server, which else logs each engine that ends as a lost connection. */
  async close() {
    await Promise.all([...this.#sessions].map((session) => session.end()))
  }

  /** For an engine that is stopped half-way: nobody else would ever drop them. */
  async dropShadows() {
    await Promise.all([...this.#shadows.keys()].map((database) => this.#dropShadow(database)))
  }

  /** The same error with what only the connection knows: SQLSTATE, place in the script, Prisma's code. */
  explain(error) {
    return this.#connectionError ?? this.#scriptFailure?.translate(error.message) ?? error
  }

  async #openOwnShadow() {
    const database = `prisma_migrate_shadow_db_${randomUUID()}`
    const created = administer(this.#config, `CREATE DATABASE "${database}"`)
    this.#shadows.set(database, created)
    await created.catch((error) => {
      this.#shadows.delete(database)
      throw new EngineError(
        'Prisma Migrate could not create the shadow database. Please make sure the database user has permission to create ' +
          `databases. Read more about the shadow database (and workarounds) at https://pris.ly/d/migrate-shadow\n\n${error.message}`,
        'P3014',
      )
    })
    return this.#open({ ...this.#config, database }, () => this.#dropShadow(database))
  }

  /** Waits for a creation that is under way: a database that comes to be after it was dropped would stay. */
  async #dropShadow(database) {
    await Promise.allSettled([this.#shadows.get(database)])
    await administer(this.#config, `DROP DATABASE IF EXISTS "${database}" WITH (FORCE)`)
    this.#shadows.delete(database)
  }

  async #openConfiguredShadow(shadow) {
    const same = ['host', 'port', 'database'].every((part) => shadow[part] === this.#config[part])
    if (same) throw new EngineError('The shadow database must not be the database itself: it is emptied.')
    await administer(shadow, EMPTY_DATABASE)
    return this.#open(shadow)
  }

  async #open(config, afterwards = async () => {}) {
    const session = new Session(config)
    this.#sessions.add(session)
    const styles = new Styles(session)
    await session
      .connect()
      .then(() => styles.readable())
      .catch((error) => this.#failToConnect(error))
    const adapter = await new PrismaPg(session, { schema: config.schema }).connect()
    const queryRaw = queryWithChars(adapter)
    adapter.queryRaw = (query) => queryRaw({ ...query, args: query.args.map((value) => this.#translated(value)) })
    adapter.executeScript = (script) => this.#run(session, styles, script).catch((error) => adapter.onError(error))
    adapter.dispose = async () => {
      this.#sessions.delete(session)
      await session.end()
      await afterwards()
    }
    return adapter
  }

  #failToConnect(error) {
    this.#connectionError = error
    throw error
  }

  async #run(session, styles, script) {
    this.#scriptFailure = null
    try {
      await styles.carried()
      await runScript(session, script, this.#mode)
    } catch (error) {
      this.#scriptFailure = new ScriptFailure(error, script)
      throw error
    } finally {
      await styles.readable().catch(() => {}) // in a transaction that failed, and on a connection that is gone
    }
  }

  /** The engine stores its report of a failed migration in _prisma_migrations. */
  #translated(value) {
    return typeof value === 'string' ? (this.#scriptFailure?.translate(value)?.message ?? value) : value
  }
}

async function administer(config, statement) {
  const session = new Session(config)
  try {
    await session.query(statement)
  } finally {
    await session.end()
  }
}

/** Introspection reads columns of type "char", which the adapter refuses as unknown: it is shown text, and then corrected. */
function queryWithChars(adapter) {
  const { queryRaw, pgOptions } = adapter
  return async (query) => {
    const chars = new Set()
    const performIO = async (sameQuery) => {
      const result = await adapter.performIO(sameQuery)
      result.fields.forEach((field, column) => {
        if (field.dataTypeID !== CHAR_OID) return
        field.dataTypeID = TEXT_OID
        chars.add(column)
      })
      return result
    }
    const result = await queryRaw.call({ pgOptions, performIO }, query)
    for (const column of chars) result.columnTypes[column] = ColumnTypeEnum.Character
    return result
  }
}
