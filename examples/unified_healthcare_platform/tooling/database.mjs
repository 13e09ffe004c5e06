// What the scripts share: a session on the database that DATABASE_URL names, and errors that repeat no secret.
import { parseDatasource } from './engine/datasource.mjs'
import { Session } from './engine/session.mjs'

const COULD_NOT_BE_DONE = 2

export async function withDatabase(work) {
  try {
    const session = new Session(parseDatasource({ url: process.env.DATABASE_URL }))
    await work(session)
    await session.end()
  } catch (error) {
    console.error(`Could not be done: ${error.message}`)
    process.exit(COULD_NOT_BE_DONE)
  }
}
