/**
 * HTTP to the Kubernetes API: kept-alive connections, time limits, size limits, and every answer that is not the wanted
 * one as a {@link KubernetesError}.
 *
 * Knows no resource. Follows no redirect. Never puts a credential or a body that it sent into a message.
 */
import { Pool } from 'undici'
import { createTurns } from '../flow/turns.ts'
import { readText } from './body.ts'
import type { Connection } from './connection.ts'
import { codeOfStatus, KubernetesError } from './error.ts'
import type { KubernetesObject } from './objects.ts'
import { type Query, withQuery } from './path.ts'
import { type WatchEvent, watchEvents } from './watch.ts'

export interface ClientOptions {
  /** For one call, from its start to the end of its answer. The wait for a connection has a limit of its own. */
  timeoutMs: number
  /** For one page of a list, which may hold a hundred pods of a megabyte. Default: at least 30 s. */
  listTimeoutMs?: number
  /** Connections for calls; watches have their own. Default 16. */
  connections?: number
  /** How long a call waits for one of them. Default 10 s. */
  connectionWaitMs?: number
  /** A watch that stays silent for so long is taken for dead: the API server sends bookmarks about once a minute. Default 100 s. */
  watchSilenceMs?: number
  /** The time of the API server, with each of its answers. */
  onDate?(date: Date): void
}

export interface ListPage<T> {
  metadata: { resourceVersion: string; continue?: string }
  items: T[]
}

export interface Client {
  /** `undefined`: there is no such object. */
  get<T extends KubernetesObject>(path: string): Promise<T | undefined>
  /** One page. Throws `Gone` where `continue` is too old. */
  list<T extends KubernetesObject>(
    path: string,
    query?: Query,
    signal?: AbortSignal
  ): Promise<ListPage<T>>
  /** `repeatable`: the call changes nothing (a review), so that a broken connection is tried again. */
  create<T>(path: string, body: object, options?: { repeatable?: boolean }): Promise<T>
  replace<T>(path: string, body: object): Promise<T>
  /** Server-side apply. `force` (default true): fields of other owners are taken, else `Conflict` names them. */
  apply<T>(
    path: string,
    body: object,
    fieldManager: string,
    options?: { force?: boolean; dryRun?: boolean }
  ): Promise<T>
  /** JSON merge patch (RFC 7386): null takes a member away. */
  merge<T>(path: string, body: object): Promise<T>
  /** Deletes; an object that is gone already is as good. */
  remove(path: string): Promise<void>
  /** Whatever is answered, as it is: for what a component behind the API says of itself. */
  look(path: string): Promise<{ status: number; text: string }>
  /** Ends when the server ends it. Throws `Gone` where `resourceVersion` is too old. `onOpen`: the server has begun. */
  watch<T extends KubernetesObject>(
    path: string,
    query: Query,
    signal: AbortSignal,
    onOpen?: () => void
  ): AsyncGenerator<WatchEvent<T>>
  close(): Promise<void>
}

interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  path: string
  body?: object
  contentType?: string
  repeatable: boolean
  limitBytes: number
  timeoutMs?: number
  signal?: AbortSignal
}

/** etcd holds at most 1.5 MiB an object; a page of 500 pods is far larger. */
const objectBytes = 4 * 1024 * 1024
const pageBytes = 64 * 1024 * 1024
const repeats = 2
const mostWaiting = 5_000

export function createClient(connection: Connection, options: ClientOptions): Client {
  const connections = options.connections ?? 16
  const connectionWaitMs = options.connectionWaitMs ?? 10_000
  // Here and not in the pool: there the wait would count as the API's own time, and under load every call would seem to
  // have gone unanswered.
  const turns = createTurns({ atOnce: connections, waiting: mostWaiting, waitMs: connectionWaitMs })
  let pools: { identity: string; calls: Pool; watches: Pool } | undefined

  return {
    async get<T extends KubernetesObject>(path: string) {
      try {
        const found = await json<T>({
          method: 'GET',
          path,
          repeatable: true,
          limitBytes: objectBytes
        })
        return withMetadata(found, path)
      } catch (error) {
        if (error instanceof KubernetesError && error.code === 'NotFound') return undefined
        throw error
      }
    },
    async list<T extends KubernetesObject>(path: string, query: Query = {}, signal?: AbortSignal) {
      const call = { path: withQuery(path, query), ...(signal ? { signal } : {}) }
      const page = await json<ListPage<T>>({
        method: 'GET',
        ...call,
        repeatable: true,
        limitBytes: pageBytes,
        timeoutMs: options.listTimeoutMs ?? Math.max(options.timeoutMs, 30_000)
      })
      if (!page?.metadata?.resourceVersion || !Array.isArray(page.items ?? []))
        throw new KubernetesError('Invalid', `GET ${path}: a list was expected.`)
      // Go writes an empty list as null.
      return { metadata: page.metadata, items: page.items ?? [] }
    },
    create: (path, body, { repeatable = false } = {}) =>
      json({ method: 'POST', path, body, repeatable, limitBytes: objectBytes }),
    replace: (path, body) =>
      json({ method: 'PUT', path, body, repeatable: false, limitBytes: objectBytes }),
    apply: (path, body, fieldManager, { force = true, dryRun = false } = {}) =>
      json({
        method: 'PATCH',
        path: withQuery(path, { fieldManager, force, dryRun: dryRun ? 'All' : undefined }),
        body,
        contentType: 'application/apply-patch+yaml',
        repeatable: true,
        limitBytes: objectBytes
      }),
    merge: (path, body) =>
      json({
        method: 'PATCH',
        path,
        body,
        contentType: 'application/merge-patch+json',
        repeatable: true,
        limitBytes: objectBytes
      }),
    async remove(path) {
      try {
        await json({ method: 'DELETE', path, repeatable: true, limitBytes: objectBytes })
      } catch (error) {
        if (!(error instanceof KubernetesError && error.code === 'NotFound')) throw error
      }
    },
    async look(path) {
      const call: Call = { method: 'GET', path, repeatable: true, limitBytes: objectBytes }
      let status = 200
      const text = await inTurn(call, other => {
        status = other
      })
      return { status, text }
    },
    async *watch<T extends KubernetesObject>(
      path: string,
      query: Query,
      signal: AbortSignal,
      onOpen?: () => void
    ) {
      const whole = withQuery(path, { ...query, watch: true, allowWatchBookmarks: true })
      const { headers, watches } = await access(false)
      const answer = await watches
        .request({
          method: 'GET',
          path: whole,
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
      onOpen?.()
      try {
        yield* watchEvents<T>(answer.body, path)
      } catch (cause) {
        throw cause instanceof KubernetesError ? cause : unavailable('GET', path, cause)
      }
    },
    async close() {
      await Promise.all([pools?.calls.destroy(), pools?.watches.destroy()])
      pools = undefined
    }
  }

  async function json<T>(call: Call): Promise<T> {
    const found = await inTurn(call)
    try {
      return JSON.parse(found) as T
    } catch (cause) {
      throw new KubernetesError('Invalid', `${call.method} ${call.path}: JSON was expected.`, {
        cause
      })
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
    const timeoutMs = call.timeoutMs ?? options.timeoutMs
    const limit = AbortSignal.timeout(timeoutMs)
    let status: number
    let found: string
    try {
      const answer = await calls.request({
        method: call.method,
        path: call.path,
        headers: { ...headers, ...contentHeaders(call) },
        body: call.body === undefined ? null : JSON.stringify(call.body),
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        signal: call.signal ? AbortSignal.any([call.signal, limit]) : limit
      })
      status = answer.statusCode
      noteDate(answer.headers.date)
      found = await readText(answer.body, call.limitBytes)
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
    const date = new Date(String(header))
    if (!Number.isNaN(date.getTime())) options.onDate?.(date)
  }

  async function access(fresh: boolean): Promise<{
    headers: Record<string, string>
    calls: Pool
    watches: Pool
  }> {
    const { headers, cert, key } = await connection.credentials(fresh)
    const identity = `${cert ?? ''}${key ?? ''}`
    if (pools?.identity !== identity) {
      // A client certificate belongs to the connection: a new one needs new connections.
      const former = pools
      pools = {
        identity,
        calls: poolFor(connection, options, { cert, key }, connections),
        watches: poolFor(connection, options, { cert, key }, null)
      }
      void former?.calls.close()
      void former?.watches.close()
    }
    return { headers: { accept: 'application/json', ...headers }, ...pools }
  }
}

function poolFor(
  connection: Connection,
  options: ClientOptions,
  pair: { cert: string | undefined; key: string | undefined },
  connections: number | null
): Pool {
  const { ca, servername } = connection
  return new Pool(connection.server, {
    connections,
    keepAliveTimeout: 60_000,
    headersTimeout: options.timeoutMs,
    bodyTimeout: options.timeoutMs,
    connect: {
      timeout: options.timeoutMs,
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(servername === undefined ? {} : { servername }),
      ...(pair.cert === undefined ? {} : { cert: pair.cert }),
      ...(pair.key === undefined ? {} : { key: pair.key })
    }
  })
}

function contentHeaders(call: Call): Record<string, string> {
  return call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }
}

function connectionBroke(cause: unknown): boolean {
  const code = (cause as { code?: unknown } | undefined)?.code
  return code === 'ECONNRESET' || code === 'EPIPE' || code === 'UND_ERR_SOCKET'
}

function unavailable(method: string, path: string, cause: unknown): KubernetesError {
  const why = cause instanceof Error ? cause.message || cause.name : String(cause)
  return new KubernetesError('Unavailable', `${method} ${path}: no answer (${why}).`, { cause })
}

/** The API's own sentence (metav1.Status) says more than the number, and holds nothing that we sent but names. */
function refused(method: string, path: string, status: number, found: string): KubernetesError {
  let said = ''
  try {
    const message = (JSON.parse(found) as { message?: unknown }).message
    if (typeof message === 'string') said = `: ${message.slice(0, 500)}`
  } catch {
    // Not a Status; the number has to do.
  }
  return new KubernetesError(codeOfStatus(status), `${method} ${path}: status ${status}${said}`, {
    status
  })
}

function withMetadata<T extends KubernetesObject>(found: T, path: string): T {
  if (typeof found?.metadata !== 'object' || found.metadata === null)
    throw new KubernetesError('Invalid', `GET ${path}: an object was expected.`)
  return found
}
