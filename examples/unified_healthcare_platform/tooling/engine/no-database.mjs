// The WebAssembly engine asks a server for its version before it does anything; the native one compares two schema files
// without any. This stands in for a server where none is needed.
import { ColumnTypeEnum } from './modules.mjs'

const VERSION = {
  columnNames: ['exists', 'version', 'numeric_version'],
  columnTypes: [ColumnTypeEnum.Boolean, ColumnTypeEnum.Text, ColumnTypeEnum.Int32],
  rows: [[true, 'PostgreSQL 18.0', 180000]],
}

const refuse = async () => {
  throw new Error('This command was not expected to need a database.')
}

export class NoDatabaseFactory {
  provider = 'postgres'
  adapterName = 'offline-schema-engine'
  connectToShadowDb = refuse

  async connect() {
    return {
      provider: this.provider,
      adapterName: this.adapterName,
      queryRaw: async ({ sql }) => (sql.includes('version()') ? VERSION : refuse()),
      executeRaw: refuse,
      executeScript: refuse,
      startTransaction: refuse,
      dispose: async () => {},
      getConnectionInfo: () => ({ schemaName: 'public', supportsRelationJoins: true }),
    }
  }
}
