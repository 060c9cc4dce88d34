import type { X509Certificate } from 'node:crypto'
import { createConnection, isIP } from 'node:net'
import { connect } from 'node:tls'
import { faultText } from './exchange.ts'

export interface HandshakeTarget {
  host: string
  port: number
  /** Sent as the server name, unless it is an address (RFC 6066 §3). */
  name: string
  trustAnchors: string
  certificate: string
  key: string
  timeoutMs: number
}

export type Handshake =
  | {
      kind: 'secure'
      peer: X509Certificate
      /** OpenSSL's result for the peer's chain; absent when it leads to a trust anchor. */
      chainError?: string
      protocol: string
      applicationProtocol: string
      after: 'http2' | 'other' | 'silent' | 'closed'
      /** Why the server ended the connection, in TLS's own words. */
      alert?: string
    }
  | { kind: 'failed'; code: HandshakeFault; detail: string }

export type HandshakeFault =
  | 'NameNotResolved'
  | 'ConnectionRefused'
  | 'Unreachable'
  | 'Timeout'
  | 'Plaintext'
  | 'ClientCertificateRefused'
  | 'NotHttp2'
  | 'HandshakeFailed'

/**
 * The TLS handshake of Ray's gRPC: both sides show a certificate, ALPN is h2, and a trust anchor need not be a root. The
 * peer's chain is judged here but never ends the handshake, so that what is wrong can be shown with its certificate.
 *
 * With TLS 1.3 the client is done before the server has looked at the client's certificate (RFC 8446 §4.4.2.4), so the
 * handshake counts only when the server's first HTTP/2 frame has come.
 */
export async function shakeHands(target: HandshakeTarget): Promise<Handshake> {
  const result = await overTls(target)
  if (result.kind === 'secure' || result.code !== 'HandshakeFailed') return result
  // Some plain servers hang up without a word that OpenSSL could name; asked in their own language they answer.
  return (await answersInPlaintext(target)) ? { ...result, code: 'Plaintext' } : result
}

/** Client preface and empty SETTINGS frame (RFC 9113 §3.4). */
const preface = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
])

function overTls(target: HandshakeTarget): Promise<Handshake> {
  return new Promise(resolve => {
    let secure: (Handshake & { kind: 'secure' }) | undefined
    const socket = connect({
      host: target.host,
      port: target.port,
      servername: isIP(target.name) === 0 ? target.name : '',
      ca: target.trustAnchors,
      allowPartialTrustChain: true,
      cert: target.certificate,
      key: target.key,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.2',
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined
    })
    const timer = setTimeout(() => {
      finish(secure ?? failed('Timeout', `no TLS connection within ${target.timeoutMs} ms`))
    }, target.timeoutMs)
    const finish = (handshake: Handshake) => {
      clearTimeout(timer)
      resolve(handshake)
      socket.destroy()
    }

    socket.on('secureConnect', () => {
      const peer = socket.getPeerX509Certificate()
      if (peer === undefined)
        return finish(failed('HandshakeFailed', 'the server has no certificate'))
      secure = {
        kind: 'secure',
        peer,
        ...(socket.authorized ? {} : { chainError: codeOf(socket.authorizationError) }),
        protocol: socket.getProtocol() ?? 'unknown',
        applicationProtocol: socket.alpnProtocol || 'none',
        after: 'silent'
      }
      socket.write(preface)
    })
    socket.on('data', (data: Buffer) => {
      if (secure !== undefined) finish({ ...secure, after: isSettings(data) ? 'http2' : 'other' })
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (secure === undefined) finish(faultOf(error))
      else finish({ ...secure, after: 'closed', alert: alertOf(error) ?? faultText(error) })
    })
    socket.on('close', () => {
      finish(
        secure === undefined
          ? failed('HandshakeFailed', 'the server ended the connection')
          : { ...secure, after: 'closed' }
      )
    })
  })
}

function failed(code: HandshakeFault, detail: string): Handshake & { kind: 'failed' } {
  return { kind: 'failed', code, detail }
}

/** Node hands over an Error or a code, against its types. */
function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

/** A frame of type SETTINGS on stream 0 (RFC 9113 §4.1, §6.5). */
function isSettings(data: Buffer): boolean {
  return data.length >= 9 && data[3] === 4 && data.readUInt32BE(5) === 0
}

const networkFaults: Record<string, HandshakeFault> = {
  ENOTFOUND: 'NameNotResolved',
  EAI_AGAIN: 'NameNotResolved',
  ECONNREFUSED: 'ConnectionRefused',
  EHOSTUNREACH: 'Unreachable',
  ENETUNREACH: 'Unreachable',
  EADDRNOTAVAIL: 'Unreachable',
  ETIMEDOUT: 'Timeout',
  ERR_SSL_WRONG_VERSION_NUMBER: 'Plaintext',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'Plaintext'
}

function faultOf(error: NodeJS.ErrnoException): Handshake & { kind: 'failed' } {
  const alert = alertOf(error)
  if (alert !== undefined && /certificate|unknown ca|access denied|decrypt/.test(alert)) {
    return failed('ClientCertificateRefused', alert)
  }
  if (alert === 'no application protocol') return failed('NotHttp2', alert)
  const code = networkFaults[error.code ?? ''] ?? 'HandshakeFailed'
  return failed(code, alert ?? faultText(error))
}

/** The server's alert (RFC 8446 §6.2), or `undefined` for a fault that is not one. */
function alertOf(error: NodeJS.ErrnoException): string | undefined {
  const words = /ALERT_(\w+)$/.exec(error.code ?? '')?.[1]
  return words?.replaceAll('_', ' ').toLowerCase()
}

function answersInPlaintext(target: HandshakeTarget): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection({ host: target.host, port: target.port })
    const finish = (answers: boolean) => {
      resolve(answers)
      socket.destroy()
    }
    socket.setTimeout(target.timeoutMs, () => finish(false))
    socket.on('connect', () => socket.write(preface))
    socket.on('data', data =>
      finish(isSettings(data) || data.toString('latin1').startsWith('HTTP/'))
    )
    socket.on('error', () => finish(false))
    socket.on('close', () => finish(false))
  })
}
