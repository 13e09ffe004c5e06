import { PrismaPg } from '@prisma/adapter-pg'
import { config } from './config.ts'
import { PrismaClient } from './generated/client/client.ts'

const adapter = new PrismaPg({
  connectionString: named(config.databaseUrl),
  max: 5,
  connectionTimeoutMillis: 2000,
  statement_timeout: 30_000,
})

/** An operator sees in pg_stat_activity whose sessions these are. */
function named(databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.searchParams.set('application_name', 'unified-healthcare-api')
  return url.toString()
}

export const prisma = new PrismaClient({ adapter })

export async function databaseAnswers(): Promise<boolean> {
  try {
    await prisma.$queryRaw`SELECT 1`
    return true
  } catch {
    return false
  }
}
