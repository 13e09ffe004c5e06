#!/usr/bin/env node
// A schema engine that needs no download: point PRISMA_SCHEMA_ENGINE_BINARY at this file, and an unmodified Prisma CLI
// runs on the WebAssembly build of its own engine, over node-postgres. Its modules are found beside this file, so that a
// Prisma project anywhere can use it.
import { parseArguments } from './engine/arguments.mjs'
import { createDatabase } from './engine/create-database.mjs'
import { parseDatasource } from './engine/datasource.mjs'
import { logError } from './engine/errors.mjs'
import { PostgresFactory } from './engine/factory.mjs'
import { serve } from './engine/rpc.mjs'
import { Session } from './engine/session.mjs'
import { transactionMode } from './engine/transactions.mjs'
import { engineVersion } from './engine/wasm.mjs'

/** The CLI asks this before each command that needs a database. */
async function ensureConnection(config) {
  const session = new Session(config)
  await session.connect()
  await session.end()
}

async function main() {
  const { version, command, datasource, datamodels } = parseArguments(process.argv.slice(2))
  if (version) return console.log(`schema-engine-cli ${engineVersion}`)
  const config = parseDatasource(datasource)
  if (command === 'can-connect-to-database') return ensureConnection(config)
  if (command === 'create-database') return createDatabase(config)
  return serve(new PostgresFactory(config, transactionMode(process.env)), datamodels)
}

try {
  await main()
  process.exit(0)
} catch (error) {
  logError(error)
  process.exit(1)
}
