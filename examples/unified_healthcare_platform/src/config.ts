import path from 'node:path'

const projectFolder = path.resolve(import.meta.dirname, '..')

function required(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

function port(): number {
  const value = Number(process.env.PORT ?? 3000)
  if (!Number.isInteger(value) || value < 0 || value > 65535) throw new Error('PORT must be a whole number up to 65535')
  return value
}

const file = (name: string, standard: string) => path.resolve(projectFolder, process.env[name] ?? standard)

/** Everything that differs between two installations. */
export const config = {
  databaseUrl: required('DATABASE_URL'),
  apiToken: required('API_TOKEN'),
  host: process.env.HOST ?? '127.0.0.1',
  port: port(),
  logFile: file('LOG_FILE', 'logs/application.log'),
  maintenanceFile: file('MAINTENANCE_FILE', '.maintenance'),
  /** Whom the token stands for. */
  userEmail: process.env.API_USER_EMAIL ?? 'fictitious.patient.000000001@example.invalid',
}
