// Loads the project's configuration with the project's own Prisma, as its CLI does, and writes what it says as JSON.
// Values of variables stay here: of the URL it only tells whether it is the one that was given.
//
//   node load-config.mjs <folder of the package prisma> <file for the answer> <the URL that was given> [<configuration>]
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

const [prisma, answer, given, configFile] = process.argv.slice(2)
const { loadConfigFromFile } = createRequire(path.join(prisma, 'package.json'))('@prisma/config')

// What the loader itself reads at first is none of the project's.
await loadConfigFromFile({ configFile: path.join(answer, 'none.ts'), configRoot: path.dirname(answer) })

const read = new Set()
process.env = new Proxy(process.env, {
  get(variables, name) {
    if (typeof name === 'string') read.add(name)
    return variables[name]
  },
  set(variables, name, value) {
    variables[name] = value
    return true
  },
})

const { config, resolvedPath, error } = await loadConfigFromFile({ configFile, configRoot: process.cwd() })
const asked = [...read]
const url = config?.datasource?.url
const told = {
  path: resolvedPath ?? null,
  error: error ? `${error._tag}: ${error.error?.message ?? ''}` : null,
  schema: config?.schema ?? null,
  migrations: config?.migrations?.path ?? null,
  url: url ? (url === given ? 'given' : 'other') : 'none',
  same: url ? Object.keys(process.env).filter((name) => process.env[name] === url) : [],
  read: asked,
}
fs.writeFileSync(answer, JSON.stringify(told))
process.exit(0) // a configuration may have opened what would keep this process alive
