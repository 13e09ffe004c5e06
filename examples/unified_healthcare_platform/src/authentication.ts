import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { config } from './config.ts'

const digest = (text: string) => createHash('sha256').update(text).digest()
const expected = digest(`Bearer ${config.apiToken}`)

/** Digests are of equal length, so that the time of the comparison tells nothing about the token. */
export function isAuthorized(request: IncomingMessage): boolean {
  return timingSafeEqual(digest(request.headers.authorization ?? ''), expected)
}
