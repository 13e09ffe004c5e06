import type { IncomingMessage, ServerResponse } from 'node:http'
import { createAppointment, listAppointments } from './appointments.ts'
import { isAuthorized } from './authentication.ts'
import { databaseAnswers } from './database.ts'
import { HttpError, send } from './http.ts'
import { log } from './log.ts'
import { inMaintenance } from './maintenance.ts'
import { currentUser } from './users.ts'

const RETRY_AFTER_SECONDS = '60'

type Handler = (request: IncomingMessage, parameters: URLSearchParams) => Promise<{ status: number; body: unknown }>

const routes: Record<string, Record<string, Handler>> = {
  '/health': {
    GET: async () => {
      const answers = await databaseAnswers()
      const status = answers ? 'ok' : 'unavailable'
      const body = { status, maintenance: inMaintenance(), database: answers ? 'up' : 'down' }
      return { status: answers ? 200 : 503, body }
    },
  },
  '/api/v1/users/me': {
    GET: async () => ({ status: 200, body: await currentUser() }),
  },
  '/api/v1/appointments': {
    GET: async (_, parameters) => ({ status: 200, body: await listAppointments(parameters) }),
    POST: async (request) => ({ status: 201, body: await createAppointment(request) }),
  },
}

/** Answers one request and logs it: by its route, because a path that matches none may hold anything. */
export async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const started = performance.now()
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const { status, level, reason } = await respond(request, response, pathname, searchParams)
  const route = Object.hasOwn(routes, pathname) ? pathname : '(unknown route)'
  log[level](`${request.method} ${route} ${status} ${Math.round(performance.now() - started)} ms${reason}`)
}

type Outcome = { status: number; level: 'info' | 'warn' | 'error'; reason: string }

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  pathname: string,
  parameters: URLSearchParams,
): Promise<Outcome> {
  try {
    const { status, body } = await handlerFor(request, pathname)(request, parameters)
    send(response, status, body)
    return { status, level: status < 500 ? 'info' : 'error', reason: '' }
  } catch (error) {
    if (error instanceof HttpError) {
      send(response, error.status, { error: error.message }, error.headers)
      return { status: error.status, level: 'warn', reason: '' }
    }
    send(response, 500, { error: 'Internal error' })
    return { status: 500, level: 'error', reason: `: ${kindOf(error)}` }
  }
}

function handlerFor(request: IncomingMessage, pathname: string): Handler {
  const methods = Object.hasOwn(routes, pathname) ? routes[pathname] : undefined
  if (!methods) throw new HttpError(404, 'There is nothing here')
  if (pathname !== '/health' && !isAuthorized(request)) {
    throw new HttpError(401, 'A valid token is required', { 'WWW-Authenticate': 'Bearer' })
  }
  const method = request.method ?? ''
  if (!Object.hasOwn(methods, method)) {
    throw new HttpError(405, 'This method is not allowed', { Allow: Object.keys(methods).join(', ') })
  }
  if (method !== 'GET' && inMaintenance()) {
    throw new HttpError(503, 'Maintenance: only reading is possible', { 'Retry-After': RETRY_AFTER_SECONDS })
  }
  return methods[method]
}

/** An error's name and code: its message can hold values of rows. */
function kindOf(error: unknown): string {
  const { name, code } = error as { name?: string; code?: string }
  return [name ?? 'Error', code].filter(Boolean).join(' ')
}
