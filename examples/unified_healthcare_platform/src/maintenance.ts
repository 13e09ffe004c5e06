import fs from 'node:fs'
import { config } from './config.ts'

/** Asked at each request: an operator switches it by a file, and no restart is needed. */
export function inMaintenance(): boolean {
  return fs.existsSync(config.maintenanceFile)
}
