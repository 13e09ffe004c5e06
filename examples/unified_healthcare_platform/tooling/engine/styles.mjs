// How the server writes values as text. node-postgres reads ISO dates and hexadecimal bytes alone, whatever role and database
// carry; the native engine, which reads them in binary, changes nothing for a migration's script, and so does this one.
const READABLE = { DateStyle: 'ISO', IntervalStyle: 'postgres', bytea_output: 'hex', extra_float_digits: '1' }
const NAMES = Object.keys(READABLE)

export class Styles {
  #session
  #carried

  constructor(session) {
    this.#session = session
  }

  /** For the engine's own questions; what a script left is kept for the next one. */
  async readable() {
    const { rows } = await this.#session.query({
      text: `SELECT ${NAMES.map((name) => `current_setting('${name}')`).join(', ')}`,
      rowMode: 'array',
    })
    this.#carried = rows[0]
    await this.#set(Object.values(READABLE))
  }

  /** For a script. */
  carried() {
    return this.#set(this.#carried)
  }

  #set(values) {
    return this.#session.query(`SELECT ${NAMES.map((name, i) => `set_config('${name}', $${i + 1}, false)`).join(', ')}`, values)
  }
}
