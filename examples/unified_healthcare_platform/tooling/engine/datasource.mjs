import fs from 'node:fs'
import path from 'node:path'
import tls from 'node:tls'
import { EngineError } from './errors.mjs'

const PROTOCOLS = ['postgresql:', 'postgres:']
const CONNECT_TIMEOUT_SECONDS = 5 // Prisma's own default
const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']

/** The connection settings in Prisma's URLs, for node-postgres. A URL is never repeated in a message: it has a password. */
export function parseDatasource({ url, shadowDatabaseUrl } = {}) {
  return { ...parseUrl(url), shadow: shadowDatabaseUrl ? parseUrl(shadowDatabaseUrl) : null }
}

function parseUrl(text) {
  // Comparing two schema files needs no database: only connecting without a URL is an error.
  if (!text) return { missing: true }
  const url = validUrl(text)
  const parameters = url.searchParams
  const schema = parameters.get('schema')
  const host = parameters.get('host') || decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1') || 'localhost'
  return {
    host,
    port: Number(url.port || 5432),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1).split('/')[0]) || 'postgres',
    schema: schema ?? 'public',
    options: sessionOptions(parameters.get('options'), schema),
    application_name: parameters.get('application_name') ?? undefined,
    connectionTimeoutMillis: 1000 * Number(parameters.get('connect_timeout') ?? CONNECT_TIMEOUT_SECONDS),
    tls: host.startsWith('/') ? { mode: 'disable' } : tlsSettings(parameters), // a socket is not encrypted
  }
}

function validUrl(text) {
  const problem = 'The provided database string is invalid.'
  if (!URL.canParse(text)) throw new EngineError(`${problem} It is not a URL.`, 'P1013')
  const url = new URL(text)
  if (PROTOCOLS.includes(url.protocol)) return url
  throw new EngineError(`${problem} It must begin with postgresql:// or postgres://.`, 'P1013')
}

/** As with the native engine, `schema` decides where migrations work; without it, what role and database carry does. */
function sessionOptions(options, schema) {
  return [options, schema && `-c search_path=${optionValue(`"${schema}"`)}`].filter(Boolean).join(' ')
}

/** In `options`, a backslash keeps a space or a backslash within a value. */
function optionValue(text) {
  return text.replace(/[\\\s]/g, '\\$&')
}

/**
 * Prisma's `sslaccept=strict` checks the certificate, and so do libpq's `verify-ca` and `verify-full`. `sslcert` is the
 * server's root to Prisma; the client's own certificate is `sslidentity`.
 */
function tlsSettings(parameters) {
  const mode = parameters.get('sslmode') ?? 'prefer'
  if (!SSL_MODES.includes(mode)) {
    throw new EngineError(`sslmode must be one of ${SSL_MODES.join(', ')}.`, 'P1013')
  }
  const strict = mode.startsWith('verify-') || (parameters.get('sslaccept') ?? 'accept_invalid_certs') !== 'accept_invalid_certs'
  const options = { rejectUnauthorized: strict }
  const certificate = parameters.get('sslcert') ?? parameters.get('sslrootcert')
  if (certificate) options.ca = [...tls.rootCertificates, readCertificate(certificate)]
  if (parameters.has('sslidentity')) {
    options.pfx = readCertificate(parameters.get('sslidentity'))
    options.passphrase = parameters.get('sslpassword') ?? ''
  }
  if (mode === 'verify-ca') options.checkServerIdentity = () => undefined
  return { mode, options }
}

function readCertificate(file) {
  return fs.readFileSync(path.resolve('prisma', file))
}
