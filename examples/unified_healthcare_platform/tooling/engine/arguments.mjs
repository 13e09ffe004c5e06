import fs from 'node:fs'
import { EngineError } from './errors.mjs'

const COMMANDS = ['can-connect-to-database', 'create-database']

/** What the Prisma CLI asks for. Options that this engine has no use for take a value each, and are skipped with it. */
export function parseArguments(args) {
  const parsed = { version: false, command: null, datasource: {}, datamodels: [] }
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--version') parsed.version = true
    else if (args[i] === '--datasource') parsed.datasource = JSON.parse(args[++i])
    else if (args[i] === '--datamodels') parsed.datamodels.push(readDatamodel(args[++i]))
    else if (args[i] === 'cli') parsed.command = knownCommand(args[++i])
    else if (args[i].startsWith('--')) i++
  }
  return parsed
}

function readDatamodel(file) {
  return [file, fs.readFileSync(file, 'utf8')]
}

function knownCommand(name) {
  if (COMMANDS.includes(name)) return name
  throw new EngineError(`The offline schema engine has no command "${name}"; it has ${COMMANDS.join(' and ')}.`)
}
