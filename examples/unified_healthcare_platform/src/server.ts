import http from 'node:http'
import { answer } from './api.ts'
import { config } from './config.ts'
import { prisma } from './database.ts'
import { log } from './log.ts'

const server = http.createServer((request, response) => void answer(request, response))

server.listen(config.port, config.host, () => {
  const address = server.address()
  log.info(`listening on ${config.host}:${typeof address === 'object' ? address?.port : config.port}`)
  process.send?.('ready') // pm2 waits for it
})

/** Requests that are running get their answer; connections that wait for a next one are closed. */
function stop(signal: NodeJS.Signals): void {
  log.info(`stopping on ${signal}`)
  server.close(async () => {
    await prisma.$disconnect()
    process.exit(0)
  })
  server.closeIdleConnections()
}

process.once('SIGINT', stop)
process.once('SIGTERM', stop)
process.on('unhandledRejection', (error) => log.error(`unhandled: ${error instanceof Error ? error.name : 'rejection'}`))
