// Maintenance mode is a file: the API serves reads and refuses writes for as long as it exists.
import fs from 'node:fs'
import path from 'node:path'

const folder = path.join(import.meta.dirname, '..')
const file = path.resolve(folder, process.env.MAINTENANCE_FILE ?? '.maintenance')

switch (process.argv[2]) {
  case 'on':
    fs.writeFileSync(file, `since ${new Date().toISOString()}\n`)
    break
  case 'off':
    fs.rmSync(file, { force: true })
    break
  default:
    console.error('Usage: node tooling/maintenance.mjs on|off')
    process.exit(2)
}
console.log(`maintenance mode: ${process.argv[2]}`)
