// The package is built for bundlers, which would instantiate the module; here it is done by hand.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { bindMigrationAwareSqlAdapterFactory, require } from './modules.mjs'

const packageDirectory = path.dirname(require.resolve('@prisma/schema-engine-wasm'))
const inPackage = (name) => path.join(packageDirectory, name)

// The module leaves the message of a panic here, and then throws a bare `unreachable`.
export const panicRegistry = { message: null, set_message: (message) => (panicRegistry.message = message) }
globalThis.PRISMA_WASM_PANIC_REGISTRY = panicRegistry

/** The commit of the engine, as the CLI prints it: the last part of the package's version. */
export const engineVersion = require(inPackage('package.json')).version.split('.').at(-1)

/** The schema engine, answering through the databases that the factory connects to. */
export async function openEngine(factory, datamodels = []) {
  const bindings = await import(pathToFileURL(inPackage('schema_engine_bg.js')))
  const module = new WebAssembly.Module(fs.readFileSync(inPackage('schema_engine_bg.wasm')))
  const { exports } = new WebAssembly.Instance(module, { './schema_engine_bg.js': bindings })
  bindings.__wbg_set_wasm(exports)
  exports.__wbindgen_start()
  const options = { datamodels: datamodels.length ? datamodels : undefined }
  return bindings.SchemaEngine.new(options, () => {}, bindMigrationAwareSqlAdapterFactory(factory))
}
