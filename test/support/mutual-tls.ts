/** A handshake as Ray's gRPC does it: each side shows a certificate and looks at the other's. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:tls'

/** PEM. */
export interface TlsFiles {
  cert?: Buffer | string
  key?: Buffer | string
  ca: Buffer | string
}

/** `secure`, or the code of what went wrong at the client. */
export async function mutualTls(server: TlsFiles, client: TlsFiles): Promise<string> {
  const allowPartialTrustChain = true
  const listener = createServer({ ...server, allowPartialTrustChain, requestCert: true }, socket =>
    socket.end('secure')
  )
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const socket = connect({ ...client, allowPartialTrustChain, host: 'localhost', port })
  try {
    let heard = ''
    for await (const part of socket) heard += part
    return heard
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'failed'
  } finally {
    socket.destroy()
    listener.close()
  }
}
