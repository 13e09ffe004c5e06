import fs from 'node:fs'
import path from 'node:path'
import { config } from './config.ts'

fs.mkdirSync(path.dirname(config.logFile), { recursive: true })

/** One line per event. Messages name routes, codes and durations: never data, parameters or tokens. */
const writer = (level: string) => (message: string) =>
  fs.appendFileSync(config.logFile, `${new Date().toISOString()} ${level} ${message}\n`)

export const log = { info: writer('INFO'), warn: writer('WARN'), error: writer('ERROR') }
