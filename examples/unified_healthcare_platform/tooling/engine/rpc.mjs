import readline from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { EngineError, logError, rpcError } from './errors.mjs'
import { NoDatabaseFactory } from './no-database.mjs'
import { openEngine, panicRegistry } from './wasm.mjs'

const LEAVE_WITHIN_MS = 5000

/** Answers the CLI's requests, one line of JSON each, until it closes our standard input. */
export function serve(factory, datamodels) {
  const server = new Server(factory, datamodels)
  process.once('SIGTERM', () => server.stop('SIGTERM'))
  process.once('SIGINT', () => server.stop('SIGINT'))
  process.once('uncaughtException', (error) => server.panic(error))
  const lines = readline.createInterface({ input: process.stdin })
  lines.on('line', (line) => server.receive(JSON.parse(line)))
  lines.once('close', () => server.stop('the end of its input'))
  return new Promise(() => {}) // the server ends the process
}

class Server {
  #factory
  #datamodels
  #engine
  #requests = new Map()
  #queue = Promise.resolve()
  #stopping = false

  constructor(factory, datamodels) {
    this.#factory = factory
    this.#datamodels = datamodels
  }

  receive(message) {
    if (!message.method) return // the CLI's acknowledgement of a "print"
    this.#requests.set(message.id, message)
    this.#queue = this.#queue.then(() => this.#answer(message))
  }

  async #answer({ id, method, params }) {
    try {
      this.#reply(id, { result: (await this.#perform(method, params)) ?? null })
    } catch (error) {
      this.#reply(id, { error: rpcError(this.#factory.explain(error)) })
    }
  }

  async #perform(method, params) {
    if (method === 'diff') return this.#diff(params)
    if (method === 'getDatabaseVersion') return (await this.#open()).version()
    const engine = await this.#open()
    if (typeof engine[method] !== 'function') throw new EngineError(`The schema engine has no method "${method}".`)
    return engine[method](params)
  }

  #open(factory = this.#factory) {
    return (this.#engine ??= openEngine(factory, this.#datamodels))
  }

  async #diff(params) {
    const offline = [params.from, params.to].every(({ tag }) => tag === 'empty' || tag === 'schemaDatamodel')
    const engine = await this.#open(offline ? new NoDatabaseFactory() : this.#factory)
    const { exitCode, stdout } = await engine.diff(params)
    this.#send({ id: 'diff', method: 'print', params: { content: stdout } })
    return { exitCode, stdout: null }
  }

  #reply(id, answer) {
    this.#requests.delete(id)
    this.#send({ id, ...answer })
  }

  #send(message) {
    process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n')
  }

  /** The WebAssembly module throws past its own promises when it panics: the request would wait for ever. */
  panic(error) {
    const report = new EngineError(panicRegistry.message ?? error.message)
    for (const id of this.#requests.keys()) this.#reply(id, { error: rpcError(report, true) })
    process.exit(101)
  }

  /** An idle engine takes leave. A busy one just leaves: that closes its connections, and the server ends the sessions. */
  async stop(cause) {
    if (this.#stopping) return
    this.#stopping = true
    const busy = this.#requests.size > 0
    const work = busy ? this.#factory.dropShadows() : this.#factory.close()
    await Promise.race([work.catch(() => {}), pause(LEAVE_WITHIN_MS)])
    if (busy) logError(new EngineError(`The schema engine was stopped by ${cause} during its work.`))
    process.exit(busy ? 1 : 0)
  }
}
