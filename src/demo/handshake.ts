/**
 * Two pods that talk as Ray's gRPC does: TLS on both sides with the pod's own files, the server's name verified by the
 * client, the client's certificate required by the server.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { connect as connectPlain, isIP } from 'node:net'
import { checkServerIdentity, connect, createServer, type TLSSocket } from 'node:tls'
import type { RunningPod } from './kubelet.ts'

export interface Peer {
  cert: string
  key: string
  ca: string
}

export async function peerOf({ files }: RunningPod): Promise<Peer> {
  const [cert, key, ca] = await Promise.all(
    [files.certificate, files.key, files.trustAnchors].map(file => readFile(file, 'utf8'))
  )
  return { cert: cert ?? '', key: key ?? '', ca: ca ?? '' }
}

export interface Listening {
  port: number
  close(): Promise<void>
}

/**
 * Answers each verified client with a greeting. gRPC takes an anchor that is no root; Node's server cannot be told to, so
 * the client's certificate is judged here.
 */
export function listen(peer: Peer, address: string): Promise<Listening> {
  const server = createServer({
    ...peer,
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2'
  })
  const anchor = new X509Certificate(peer.ca)
  server.on('secureConnection', socket => {
    socket.on('error', () => socket.destroy())
    if (isSignedBy(anchor, socket.getPeerX509Certificate())) socket.end('hello')
    else socket.destroy()
  })
  server.on('tlsClientError', (_, socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, address, () =>
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () => new Promise(done => server.close(() => done()))
      })
    )
  })
}

function isSignedBy(anchor: X509Certificate, client: X509Certificate | undefined): boolean {
  if (client === undefined || !client.checkIssued(anchor)) return false
  const now = Date.now()
  const valid = Date.parse(client.validFrom) <= now && now < Date.parse(client.validTo)
  return valid && client.verify(anchor.publicKey)
}

/** `hello` from the server, or why there is none. `name` is what the client verifies: a DNS name or an address. */
export function greet(
  peer: Partial<Peer>,
  address: string,
  port: number,
  name: string
): Promise<string> {
  return new Promise(resolve => {
    const socket: TLSSocket = connect({
      ...peer,
      allowPartialTrustChain: true,
      host: address,
      port,
      ...(isIP(name) ? {} : { servername: name }),
      checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate)
    })
    settle(socket, resolve)
  })
}

/** What a client without TLS gets. */
export function greetInPlainText(address: string, port: number): Promise<string> {
  return new Promise(resolve => {
    const socket = connectPlain({ host: address, port }, () =>
      socket.write('PRI * HTTP/2.0\r\n\r\n')
    )
    settle(socket, resolve)
  })
}

function settle(
  socket: TLSSocket | ReturnType<typeof connectPlain>,
  resolve: (text: string) => void
) {
  let heard = ''
  socket.setTimeout(5_000, () => socket.destroy(new Error('no answer')))
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
  })
  socket.on('error', (error: Error & { code?: string }) => resolve(error.code ?? error.message))
  socket.on('close', () => resolve(heard === '' ? 'closed without an answer' : heard))
}
