/**
 * The verbs of the Kubernetes API, with every answer that is not the wanted one as a {@link KubernetesError}.
 *
 * Knows no resource, and leaves connections, limits and repetition to transport.ts.
 */
import type { Connection } from './connection.ts'
import { KubernetesError } from './error.ts'
import type { KubernetesObject } from './objects.ts'
import { type Query, withQuery } from './path.ts'
import {
  type Call,
  createTransport,
  objectBytes,
  type TransportOptions,
  unavailable
} from './transport.ts'
import { type WatchEvent, watchEvents } from './watch.ts'

export interface ClientOptions extends TransportOptions {
  /** For one page of a list, which may hold a hundred pods of a megabyte. Default: at least 30 s. */
  listTimeoutMs?: number
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

/** A page of 500 pods. */
const pageBytes = 64 * 1024 * 1024

export function createClient(connection: Connection, options: ClientOptions): Client {
  const transport = createTransport(connection, options)

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
      const text = await transport.text(call, other => {
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
      const all = { ...query, watch: true, allowWatchBookmarks: true }
      const body = await transport.stream(path, all, signal)
      onOpen?.()
      try {
        yield* watchEvents<T>(body, path)
      } catch (cause) {
        throw cause instanceof KubernetesError ? cause : unavailable('GET', path, cause)
      }
    },
    close: transport.close
  }

  async function json<T>(call: Call): Promise<T> {
    const found = await transport.text(call)
    try {
      return JSON.parse(found) as T
    } catch (cause) {
      throw new KubernetesError('Invalid', `${call.method} ${call.path}: JSON was expected.`, {
        cause
      })
    }
  }
}

function withMetadata<T extends KubernetesObject>(found: T, path: string): T {
  if (typeof found?.metadata !== 'object' || found.metadata === null)
    throw new KubernetesError('Invalid', `GET ${path}: an object was expected.`)
  return found
}
