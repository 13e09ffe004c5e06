/** An error with the code and the text that the Prisma CLI shows. */
export class EngineError extends Error {
  constructor(message, code = null, meta = null) {
    super(message)
    this.code = code
    this.meta = meta
  }
}

const UNREACHABLE = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'ENOENT']

/** Prisma's own words for the reasons that a connection cannot be made, so that its CLI shows what it always shows. */
export function connectionError(error, { host, port, user, database }) {
  // A host name with several addresses fails with all their errors at once; each tells the same.
  const cause = error instanceof AggregateError ? error.errors[0] : error
  const server = `\`${host}:${port}\``
  if (UNREACHABLE.includes(cause.code) || cause.message.startsWith('timeout')) {
    return new EngineError(
      `Can't reach database server at ${server}\n\nPlease make sure your database server is running at ${server}.`,
      'P1001',
    )
  }
  if (cause.code === '28P01' || cause.message.startsWith('SASL')) {
    return new EngineError(
      `Authentication failed against database server, the provided database credentials for \`${user}\` are not valid.\n\n` +
        'Please make sure to provide valid database credentials for the database server at the configured address.',
      'P1000',
    )
  }
  if (cause.code === '3D000') return new EngineError(`Database \`${database}\` does not exist`, 'P1003')
  if (cause.code === '28000' || cause.code === '42501') {
    return new EngineError(`User was denied access on the database \`${database}\``, 'P1010')
  }
  if (cause.code === '53300') return new EngineError(`Too many database connections opened: ${cause.message}`, 'P2037')
  if (/SSL|certificate|self-signed/i.test(cause.message)) {
    return new EngineError(`Error opening a TLS connection: ${cause.message}`, 'P1011')
  }
  return cause
}

/**
 * One line of JSON on stderr, as the native engine logs. The CLI skips the first line (there the native engine logs its
 * start) and parses each other one.
 */
export function logError(error) {
  const fields = { message: error.message, error_code: prismaCode(error), is_panic: false }
  process.stderr.write('\n' + JSON.stringify({ level: 'ERROR', target: 'schema_engine::logger', fields }) + '\n')
}

/** A failed request, as the CLI reads it. */
export function rpcError(error, isPanic = false) {
  const data = { is_panic: isPanic, message: error.message, meta: error.meta ?? null, error_code: prismaCode(error) }
  return { code: 4466, message: 'An error happened. Check the data field for details.', data }
}

function prismaCode(error) {
  return /^P\d{4}$/.test(error.code) ? error.code : null
}
