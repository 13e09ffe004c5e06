import { defineConfig } from 'prisma/config'

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: {
    url: process.env.DATABASE_URL,
    // Only `migrate diff --from-migrations` and `migrate dev` need one, and they create their own where this is unset.
    shadowDatabaseUrl: process.env.SHADOW_DATABASE_URL,
  },
})
