import { connectionError, EngineError } from './errors.mjs'
import { pg } from './modules.mjs'

const NO_TLS = 'The server does not support SSL connections' // node-postgres has no code for it

// What node-postgres reports on a session that has ended is turned into what the adapter knows as "connection closed".
const CLOSED = { code: 'ECONNRESET', syscall: 'read', errno: -104 }

/**
 * One connection, made when it is first needed: a pool in name only, because the adapter takes nothing else. The engine
 * holds an advisory lock in it, and a script may leave a transaction open: as with the native engine, what follows must
 * run in the same session, also after an error.
 */
export class Session extends pg.Pool {
  #config
  #client
  #closed = false

  constructor(config) {
    super()
    this.#config = config
  }

  async query(...args) {
    const client = await this.connect()
    if (this.#closed) throw Object.assign(new Error('The server has closed the connection.'), CLOSED)
    return client.query(...args)
  }

  connect() {
    return (this.#client ??= this.#open())
  }

  async end() {
    const client = await this.#client?.catch(() => null)
    await client?.end()
  }

  async #open() {
    if (this.#config.missing) throw new EngineError('DATABASE_URL is not set: there is no database to connect to.')
    const { mode, options } = this.#config.tls
    return this.#dial(mode !== 'disable' && options)
      .catch((error) => {
        if (mode === 'prefer' && error.message === NO_TLS) return this.#dial(false)
        throw error
      })
      .catch((error) => {
        throw connectionError(error, this.#config)
      })
  }

  async #dial(ssl) {
    const client = new pg.Client({ ...this.#config, ssl, keepAlive: true })
    client.on('error', () => (this.#closed = true))
    await client.connect()
    client.release = () => {}
    return client
  }
}
