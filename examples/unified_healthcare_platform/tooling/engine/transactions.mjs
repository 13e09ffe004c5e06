import { EngineError } from './errors.mjs'
import { splitStatements } from './statements.mjs'

const VARIABLE = 'OFFLINE_ENGINE_TRANSACTIONS'
const MODES = ['statement', 'file']

/**
 * What a migration file is to the server. `file`: one query, and so one implicit transaction, as with Prisma up to 7.3.
 * `statement`: each statement commits alone, as with Prisma from 7.4 on.
 */
export function transactionMode(environment) {
  const mode = environment[VARIABLE] || MODES[0]
  if (MODES.includes(mode)) return mode
  throw new EngineError(`${VARIABLE} must be ${MODES.join(' or ')}, and not "${mode}".`)
}

/** BEGIN and COMMIT in a script need no care: all its statements run in one session. */
export async function runScript(session, script, mode) {
  const statements = mode === 'statement' ? splitStatements(script) : [{ text: script, offset: 0 }]
  for (const { text, offset } of statements) {
    try {
      await session.query(text)
    } catch (error) {
      if (error.position) error.position = String(Number(error.position) + offset)
      throw error
    }
  }
}
