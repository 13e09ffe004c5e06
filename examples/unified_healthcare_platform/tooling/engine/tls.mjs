import net from 'node:net'

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/**
 * Whether the server encrypts connections: what `sslmode=prefer` needs to know, and node-postgres does not ask. A server
 * that cannot be reached offers nothing; the connection itself then fails with the reason.
 */
export function serverOffersTls({ host, port, connectionTimeoutMillis }) {
  if (host.startsWith('/')) return false
  return new Promise((resolve) => {
    const socket = net.connect({ host, port })
    const answer = (offered) => {
      socket.destroy()
      resolve(offered)
    }
    socket.setTimeout(connectionTimeoutMillis, () => answer(false))
    socket.once('connect', () => socket.write(SSL_REQUEST))
    socket.once('data', (data) => answer(data.toString().startsWith('S')))
    socket.once('error', () => answer(false))
    socket.once('close', () => answer(false))
  })
}
