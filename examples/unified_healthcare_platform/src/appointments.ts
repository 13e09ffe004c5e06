import type { IncomingMessage } from 'node:http'
import { prisma } from './database.ts'
import { HttpError, readJson } from './http.ts'

const PAGE_SIZE = 20
const PAGE_SIZE_LIMIT = 100
const FOREIGN_KEY_VIOLATED = 'P2003'

/** The newest first; `?before=` takes the `next` of the page before. */
export async function listAppointments(parameters: URLSearchParams) {
  const size = wholeNumber(parameters.get('limit') ?? PAGE_SIZE, 'limit', 1, PAGE_SIZE_LIMIT)
  const before = parameters.has('before') ? wholeNumber(parameters.get('before'), 'before', 1, 2 ** 31 - 1) : undefined
  const items = await prisma.appointment.findMany({
    where: { id: { lt: before } },
    orderBy: { id: 'desc' },
    take: size,
    include: { patient: true, provider: true },
  })
  return { items, next: items.length === size ? items[size - 1].id : null }
}

export async function createAppointment(request: IncomingMessage) {
  const body = await readJson(request)
  const data = {
    patientId: text(body.patientId, 'patientId'),
    providerId: text(body.providerId, 'providerId'),
    scheduledAt: moment(body.scheduledAt, 'scheduledAt'),
    durationMinutes: wholeNumber(body.durationMinutes ?? 30, 'durationMinutes', 5, 480),
    reason: body.reason === undefined ? null : text(body.reason, 'reason'),
  }
  try {
    return await prisma.appointment.create({ data })
  } catch (error) {
    if ((error as { code?: string }).code !== FOREIGN_KEY_VIOLATED) throw error
    throw new HttpError(422, 'There is no such patient or provider')
  }
}

function text(value: unknown, name: string): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= 500) return value
  throw new HttpError(400, `${name} must be a text of 1 to 500 characters`)
}

function moment(value: unknown, name: string): Date {
  const date = new Date(text(value, name))
  if (!Number.isNaN(date.getTime())) return date
  throw new HttpError(400, `${name} must be a time in ISO 8601`)
}

function wholeNumber(value: unknown, name: string, least: number, most: number): number {
  const number = Number(value)
  if (Number.isInteger(number) && number >= least && number <= most) return number
  throw new HttpError(400, `${name} must be a whole number from ${least} to ${most}`)
}
