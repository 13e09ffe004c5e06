import fs from 'node:fs'
import { EngineError } from './errors.mjs'

const COMMANDS = ['can-connect-to-database', 'create-database']
const DATAMODEL = ['--datamodels', '-d'] // the latter up to Prisma 6

/**
 * What the Prisma CLI asks for. Options that this engine has no use for take a value each, and are skipped with it. Up to
 * Prisma 6 the native engine evaluates `url = env("…")` of the schema; here, OFFLINE_ENGINE_URL has that URL.
 */
export function parseArguments(args) {
  const parsed = { version: false, command: null, datasource: { url: process.env.OFFLINE_ENGINE_URL }, datamodels: [] }
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--version') parsed.version = true
    else if (args[i] === '--datasource') parsed.datasource = readDatasource(args[++i])
    else if (DATAMODEL.includes(args[i])) parsed.datamodels.push(readDatamodel(args[++i]))
    else if (args[i].startsWith('-')) i++
    else if (args[i] !== 'cli') parsed.command = knownCommand(args[i])
  }
  return parsed
}

/** JSON; up to Prisma 6 the plain URL. */
function readDatasource(text) {
  return text.startsWith('{') ? JSON.parse(text) : { url: text }
}

function readDatamodel(file) {
  return [file, fs.readFileSync(file, 'utf8')]
}

function knownCommand(name) {
  if (COMMANDS.includes(name)) return name
  throw new EngineError(`The offline schema engine has no command "${name}"; it has ${COMMANDS.join(' and ')}.`)
}
