import { request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'

export interface ExchangeTarget {
  url: URL
  serverCa: string
  sourceAddress?: string
  timeouts?: ExchangeTimeouts
}

/** Milliseconds. `total` is long because some authorities answer only after an approval. */
export interface ExchangeTimeouts {
  connect: number
  total: number
}

export type Exchange =
  | { kind: 'reply'; status: number; body: string; retryAfter?: string; date?: Date }
  | { kind: 'fault'; code: ExchangeFault; detail: string }

export type ExchangeFault =
  | 'Unreachable'
  | 'ServerCertificate'
  | 'Timeout'
  | 'AnswerTooLarge'
  | 'AnswerCutOff'

/** Two PEM chains of the longest kind that gRPC can use are under 40 KiB. */
const maximumAnswerBytes = 256 * 1024
// A server that a thousand pods ask at once is busy with their handshakes for seconds; who gives up makes one more.
const defaultTimeouts: ExchangeTimeouts = { connect: 10_000, total: 30_000 }

/**
 * One POST over TLS. Only `serverCa` and the name in the address vouch for the server: neither the system's roots nor
 * NODE_TLS_REJECT_UNAUTHORIZED nor a proxy of the environment counts, because whoever stands between could otherwise
 * hand the pod a trust anchor of their own. Never throws.
 */
export function exchange(target: ExchangeTarget, token: string, body: string): Promise<Exchange> {
  const { connect, total } = target.timeouts ?? defaultTimeouts
  return new Promise(resolve => {
    let connected = false
    const finish = (result: Exchange) => {
      clearTimeout(connectTimer)
      clearTimeout(totalTimer)
      resolve(result)
      request.destroy()
    }
    const fail = (code: ExchangeFault, detail: string) => finish({ kind: 'fault', code, detail })

    const request = httpsRequest(target.url, {
      method: 'POST',
      agent: false,
      ca: target.serverCa,
      allowPartialTrustChain: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ...(target.sourceAddress === undefined
        ? {}
        : { localAddress: target.sourceAddress, family: isIP(target.sourceAddress) }),
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'content-length': Buffer.byteLength(body)
      }
    })
    const connectTimer = setTimeout(() => {
      fail('Timeout', `No TLS connection to ${target.url.host} within ${connect} ms.`)
    }, connect)
    const totalTimer = setTimeout(() => {
      fail('Timeout', `No whole answer from ${target.url.host} within ${total} ms.`)
    }, total)

    request.on('socket', (socket: TLSSocket) => {
      socket.once('secureConnect', () => {
        connected = true
        clearTimeout(connectTimer)
      })
    })
    request.on('error', (error: NodeJS.ErrnoException) =>
      fail(faultOf(error, connected), faultText(error))
    )
    request.on('response', response => {
      const parts: Buffer[] = []
      let size = 0
      response.on('data', (part: Buffer) => {
        size += part.length
        parts.push(part)
        if (size > maximumAnswerBytes) {
          fail('AnswerTooLarge', `The answer is longer than ${maximumAnswerBytes} bytes.`)
        }
      })
      response.on('error', error => fail('AnswerCutOff', error.message))
      response.on('end', () => {
        const date = Date.parse(response.headers.date ?? '')
        finish({
          kind: 'reply',
          status: response.statusCode ?? 0,
          body: Buffer.concat(parts).toString('utf8'),
          ...(response.headers['retry-after'] === undefined
            ? {}
            : { retryAfter: response.headers['retry-after'] }),
          ...(Number.isNaN(date) ? {} : { date: new Date(date) })
        })
      })
    })
    request.end(body)
  })
}

/** OpenSSL's faults carry one plain sentence beside a line of addresses and source files. */
export function faultText(error: Error & { reason?: unknown }): string {
  return typeof error.reason === 'string' ? error.reason : error.message
}

/** OpenSSL's verification results and Node's name check have codes of their own; the rest is the network. */
function faultOf(error: NodeJS.ErrnoException, connected: boolean): ExchangeFault {
  const code = error.code ?? ''
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID' || /CERT|SIGNATURE|ISSUER|CA$/.test(code)) {
    return 'ServerCertificate'
  }
  return connected ? 'AnswerCutOff' : 'Unreachable'
}
