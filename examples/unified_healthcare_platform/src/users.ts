import { config } from './config.ts'
import { prisma } from './database.ts'
import { HttpError } from './http.ts'

export async function currentUser() {
  const user = await prisma.user.findUnique({
    where: { email: config.userEmail },
    include: { patient: true, provider: true, subscriptions: true },
  })
  if (!user) throw new HttpError(404, 'The user of this token does not exist')
  return user
}
