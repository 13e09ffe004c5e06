// The engine in WebAssembly and what connects it to PostgreSQL: installed beside this file, or in the folder that
// OFFLINE_ENGINE_MODULES names, so that a project on another version of Prisma runs on the engine of that version.
import { createRequire } from 'node:module'
import path from 'node:path'

const folder = process.env.OFFLINE_ENGINE_MODULES
export const require = createRequire(folder ? path.join(folder, 'package.json') : import.meta.url)

export const pg = require('pg')
export const { PrismaPg } = require('@prisma/adapter-pg')
export const { ColumnTypeEnum, bindMigrationAwareSqlAdapterFactory } = require('@prisma/driver-adapter-utils')
