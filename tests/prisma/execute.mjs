// What the sample's schema engine does with a URL and a script before and beneath its WebAssembly, for many URLs: each line
// of input is one of both.
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const load = (name) => import(pathToFileURL(path.join(process.argv[2], 'tooling/engine', name)))
const [{ parseDatasource }, { Session }] = await Promise.all(['datasource.mjs', 'session.mjs'].map(load))

async function execute({ url, script }) {
  let session
  try {
    session = new Session(parseDatasource({ url }))
    await session.query(script)
    return { done: true }
  } catch (error) {
    return { done: false, message: error.message }
  } finally {
    await session?.end()
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await execute(JSON.parse(line))))
}
