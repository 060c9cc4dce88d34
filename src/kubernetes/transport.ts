/**
 * How bytes get to the Kubernetes API and back: kept-alive connections, turns, time and size limits, credentials that are
 * replaced while we run, and what is tried again.
 *
 * Knows neither verbs' meaning nor objects. Follows no redirect. Never puts a credential or a body that it sent into a
 * message.
 */
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { createTurns } from '../flow/turns.ts'
import { readText } from './body.ts'
import type { Connection } from './connection.ts'
import { codeOfStatus, KubernetesError } from './error.ts'
import { exchange } from './exchange.ts'
import { type Query, withQuery } from './path.ts'
import { createPool } from './pool.ts'

export interface TransportOptions {
  /** For one call, from its start to the end of its answer. The wait for a connection has a limit of its own. */
  timeoutMs: number
  /** Connections for calls; watches have their own. Default 16. */
  connections?: number
  /** How long a call waits for one of them. Default 10 s. */
  connectionWaitMs?: number
  /** A watch that stays silent for so long is taken for dead: the API server sends bookmarks about once a minute. Default 100 s. */
  watchSilenceMs?: number
  /** The time of the API server, with each of its answers. */
  onDate?(date: Date): void
}

export interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  path: string
  body?: object
  contentType?: string
  repeatable: boolean
  limitBytes: number
  timeoutMs?: number
  signal?: AbortSignal
}

export interface Transport {
  /** The text of a 2xx answer, or of any with `onRefused`. Throws KubernetesError. */
  text(call: Call, onRefused?: (status: number) => void): Promise<string>
  /** The body of a watch, on a connection of its own. Throws KubernetesError. */
  stream(path: string, query: Query, signal: AbortSignal): Promise<Readable>
  close(): Promise<void>
}

/** etcd holds at most 1.5 MiB an object. */
export const objectBytes = 4 * 1024 * 1024
const repeats = 2
const mostWaiting = 5_000

export function createTransport(connection: Connection, options: TransportOptions): Transport {
  const { origin, base } = placeOf(connection)
  const connections = options.connections ?? 16
  const connectionWaitMs = options.connectionWaitMs ?? 10_000
  // Here and not in the pool: there the wait would count as the API's own time, and under load every call would seem to
  // have gone unanswered.
  const turns = createTurns({ atOnce: connections, waiting: mostWaiting, waitMs: connectionWaitMs })
  let pools: { identity: string; calls: Dispatcher; watches: Dispatcher } | undefined

  return {
    text: inTurn,
    async stream(path, query, signal) {
      const { headers, watches } = await access(false)
      const answer = await watches
        .request({
          method: 'GET',
          origin,
          path: base + withQuery(path, query),
          headers,
          signal,
          headersTimeout: options.timeoutMs,
          bodyTimeout: options.watchSilenceMs ?? 100_000
        })
        .catch((cause: unknown) => {
          throw unavailable('GET', path, cause)
        })
      if (answer.statusCode !== 200) {
        const found = await readText(answer.body, objectBytes).catch(() => '')
        throw refused('GET', path, answer.statusCode, found)
      }
      return answer.body
    },
    async close() {
      await Promise.all([pools?.calls.destroy(), pools?.watches.destroy()])
      pools = undefined
    }
  }

  async function inTurn(call: Call, onRefused?: (status: number) => void): Promise<string> {
    const place = turns.place(call.signal)
    if (!(await place.enter())) {
      const why = `no connection was free within ${connectionWaitMs} ms`
      throw unavailable(call.method, call.path, new Error(why))
    }
    try {
      return await answered(call, onRefused)
    } finally {
      place.leave()
    }
  }

  /**
   * The text of a 2xx answer, or of any with `onRefused`. Stale credentials and broken kept-alive connections are tried
   * again.
   */
  async function answered(
    call: Call,
    onRefused?: (status: number) => void,
    repeated = 0,
    fresh = false
  ): Promise<string> {
    const { headers, calls } = await access(fresh)
    let status: number
    let found: string
    try {
      const answer = await exchange(calls, {
        method: call.method,
        origin,
        path: base + call.path,
        headers: { ...headers, ...contentHeaders(call) },
        body: call.body === undefined ? null : JSON.stringify(call.body),
        limitBytes: call.limitBytes,
        timeoutMs: call.timeoutMs ?? options.timeoutMs,
        signal: call.signal
      })
      status = answer.status
      found = answer.text
      noteDate(answer.date)
    } catch (cause) {
      if (cause instanceof KubernetesError) throw cause
      if (call.repeatable && repeated < repeats && connectionBroke(cause))
        return answered(call, onRefused, repeated + 1, fresh)
      throw unavailable(call.method, call.path, cause)
    }
    // The token may have been replaced since its file was read.
    if (status === 401 && !fresh) return answered(call, onRefused, repeated, true)
    if (status >= 200 && status <= 299) return found
    if (onRefused === undefined) throw refused(call.method, call.path, status, found)
    onRefused(status)
    return found
  }

  function noteDate(header: string | string[] | undefined): void {
    if (options.onDate === undefined) return
    const date = new Date(String(header))
    if (!Number.isNaN(date.getTime())) options.onDate(date)
  }

  async function access(fresh: boolean): Promise<{
    headers: Record<string, string>
    calls: Dispatcher
    watches: Dispatcher
  }> {
    const { headers, cert, key } = await connection.credentials(fresh)
    const identity = `${cert ?? ''}${key ?? ''}`
    if (pools?.identity !== identity) {
      // A client certificate belongs to the connection: a new one needs new connections.
      const former = pools
      const pool = (connections: number | null) =>
        createPool(connection, { cert, key }, { timeoutMs: options.timeoutMs, connections })
      pools = { identity, calls: pool(connections), watches: pool(null) }
      void former?.calls.close()
      void former?.watches.close()
    }
    return { headers: { accept: 'application/json', ...headers }, ...pools }
  }
}

/** `base`: of a server behind another, such as Rancher's `/k8s/clusters/NAME`. */
function placeOf({ server }: Connection): { origin: string; base: string } {
  const { origin, pathname } = new URL(server)
  return { origin, base: pathname.replace(/\/+$/, '') }
}

function contentHeaders(call: Call): Record<string, string> {
  return call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }
}

function connectionBroke(cause: unknown): boolean {
  const code = (cause as { code?: unknown } | undefined)?.code
  return code === 'ECONNRESET' || code === 'EPIPE' || code === 'UND_ERR_SOCKET'
}

export function unavailable(method: string, path: string, cause: unknown): KubernetesError {
  const why = cause instanceof Error ? cause.message || cause.name : String(cause)
  return new KubernetesError('Unavailable', `${method} ${path}: no answer (${why}).`, { cause })
}

/** The API's own sentence (metav1.Status) says more than the number. */
function refused(method: string, path: string, status: number, found: string): KubernetesError {
  let said = ''
  try {
    const message = (JSON.parse(found) as { message?: unknown }).message
    if (typeof message === 'string') said = `: ${withoutValues(message).slice(0, 500)}`
  } catch {
    // Not a Status; the number has to do.
  }
  return new KubernetesError(codeOfStatus(status), `${method} ${path}: status ${status}${said}`, {
    status
  })
}

/**
 * A validation error quotes the value that we sent, which may be a whole request for a certificate, and says then what is
 * wrong with it: `Invalid value: []byte{0x2d, …}: …`. Where the end of the value is not plain, nothing is kept.
 */
function withoutValues(message: string): string {
  return message.replace(
    /\b((?:Invalid|Duplicate|Unsupported) value): (?:\[\]byte\{[^}]*\}|"(?:[^"\\]|\\.)*"|.*$)/gs,
    '$1'
  )
}
