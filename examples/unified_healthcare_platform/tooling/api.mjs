// Starts and stops the API under pm2. Its daemon lives in this project's .pm2 folder, unless $PM2_HOME names another, so
// that it is never mixed up with a daemon of the machine's.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const REQUIRED = ['DATABASE_URL', 'API_TOKEN']
const ANSWER_WITHIN_MS = 1000
const folder = path.join(import.meta.dirname, '..')
const ecosystem = path.join(folder, 'tooling/ecosystem.config.cjs')
const environment = { PM2_HOME: path.join(folder, '.pm2'), ...process.env, PM2_DISABLE_VERSION_CHECK: 'true' }

const COMMANDS = {
  start: { arguments: ['start', ecosystem], done: 'started', answers: true },
  stop: { arguments: ['stop', 'api'], done: 'stopped' },
  restart: { arguments: ['startOrRestart', ecosystem, '--update-env'], done: 'restarted', answers: true },
  kill: { arguments: ['kill'], done: 'stopped, and its pm2 daemon ended' },
}

/** pm2 calls an application started that ends at once: only an answer shows that it runs. */
async function answers() {
  const url = `http://${process.env.HOST ?? '127.0.0.1'}:${process.env.PORT ?? 3000}/health`
  const giveUpAt = Date.now() + ANSWER_WITHIN_MS
  while (Date.now() < giveUpAt) {
    if (await fetch(url).catch(() => null)) return true
    await pause(50)
  }
  return false
}

const command = COMMANDS[process.argv[2]]
if (!command) {
  console.error(`Usage: node tooling/api.mjs ${Object.keys(COMMANDS).join('|')}`)
  process.exit(2)
}
const missing = command.answers && REQUIRED.find((name) => !process.env[name])
if (missing) {
  console.error(`api: ${missing} is not set`)
  process.exit(2)
}
const pm2 = [path.join(folder, 'node_modules/pm2/bin/pm2'), '--silent', ...command.arguments]
const { status } = spawnSync(process.execPath, pm2, { stdio: 'inherit', env: environment })
if (status !== 0 || (command.answers && !(await answers()))) {
  console.error(`api: ${process.argv[2]} failed; why may stand in ${path.join(environment.PM2_HOME, 'logs/api-error.log')}`)
  process.exit(1)
}
console.log(`api: ${command.done}`)
