import { EngineError } from './errors.mjs'
import { pg } from './modules.mjs'
import { Session } from './session.mjs'

const DUPLICATE_DATABASE = '42P04'

/** Creates the database that the URL names. The CLI asks for this only after it was told that there is none (P1003). */
export async function createDatabase(config) {
  const session = new Session({ ...config, database: 'postgres' })
  try {
    await session.query(`CREATE DATABASE ${pg.escapeIdentifier(config.database)}`)
  } catch (error) {
    if (error.code !== DUPLICATE_DATABASE) throw error
    throw new EngineError(`Database \`${config.database}\` already exists on the database server`, 'P1009')
  } finally {
    await session.end()
  }
}
