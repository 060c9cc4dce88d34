/**
 * Kept-alive connections to the API server, straight or through an HTTP proxy.
 *
 * Decides whom the server must prove to be and what certificate is shown to it; a proxy passes bytes on and is shown none.
 */
import { type Dispatcher, Pool, ProxyAgent } from 'undici'
import type { Connection } from './connection.ts'

export interface PoolOptions {
  /** For a new connection, and for an answer. */
  timeoutMs: number
  /** `null`: as many as are asked for. */
  connections: number | null
}

/** Its calls have to name the origin of the server: a proxy's pool has none of its own. */
export function createPool(
  { server, proxy, ca, servername }: Connection,
  { cert, key }: { cert: string | undefined; key: string | undefined },
  { timeoutMs, connections }: PoolOptions
): Dispatcher {
  const common = {
    connections,
    keepAliveTimeout: 60_000,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs
  }
  const trust = {
    timeout: timeoutMs,
    minVersion: 'TLSv1.2' as const,
    ...(ca === undefined ? {} : { ca })
  }
  const connect = {
    ...trust,
    ...(servername === undefined ? {} : { servername }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key })
  }
  if (proxy === undefined) return new Pool(new URL(server).origin, { ...common, connect })
  return new ProxyAgent({
    ...common,
    uri: proxy,
    ...proxyUser(proxy),
    requestTls: connect,
    // As kubectl does: a proxy that is reached by https has to be of the same CA.
    proxyTls: trust,
    // Else one that takes the connection and says nothing would hold a watch for minutes.
    clientFactory: (origin, options) =>
      new TunnelPool(origin, { ...options, headersTimeout: timeoutMs })
  })
}

/** A user alone is sent, too: some proxies take a token so. */
function proxyUser(proxy: string): { token?: string } {
  const { username, password } = new URL(proxy)
  if (username === '') return {}
  const text = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { token: `Basic ${Buffer.from(text).toString('base64')}` }
}

class TunnelPool extends Pool {
  /** undici connects again at once, and for ever, where the code says that a socket was closed. */
  override connect = (async (options: Dispatcher.ConnectOptions) => {
    try {
      return await super.connect(options)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'UND_ERR_SOCKET') throw cause
      throw new Error('The proxy has closed the connection.', { cause })
    }
  }) as Pool['connect']
}
