/**
 * A small copy of what a watch shows: list once, follow the changes, list again when the server has forgotten them.
 *
 * Keeps only the projection of each object, so that all pods of a large cluster fit in little memory. It lags behind the
 * API by nature: what decides about identity reads the API itself.
 * (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes)
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, ListPage } from './client.ts'
import { KubernetesError } from './error.ts'
import type { KubernetesObject } from './objects.ts'
import type { Query } from './path.ts'
import { createWaiters, type WaitOptions } from './waiters.ts'

export interface ReflectorOptions<O extends KubernetesObject, T> {
  client: Client
  path: string
  /** Selectors. */
  query?: Query
  /** What to keep of an object; `undefined`: nothing. */
  project(object: O): T | undefined
  onChange?(change: Change<T>): void
  /** A list or watch failed and is tried again. */
  onFault?(error: unknown): void
  /** For the jitter of pauses, 0 to 1. */
  random(): number
  /** Milliseconds that never go back. */
  clock(): number
  /** With nothing heard for so long the copy counts as unsynced. Default 150 s: bookmarks come about once a minute. */
  staleAfterMs?: number
  /** Default 250 ms, doubled with every failure in a row, at most 30 s. */
  backoffMs?: number
  /** Objects in one page of a list. Default 100: a pod can have a megabyte. */
  pageSize?: number
}

/** `before` is absent for what is new, `after` for what is gone. */
export interface Change<T> {
  uid: string
  before: T | undefined
  after: T | undefined
}

export interface Reflector<T> {
  start(): void
  /** The copy is whole and follows the API. */
  synced(): boolean
  /** Settles with the first whole list. */
  readonly whenSynced: Promise<void>
  values(): IterableIterator<T>
  get(uid: string): T | undefined
  /** True once the object changes, or is as `until` wants it; false when the time is over or the caller has gone. */
  changed(uid: string, options: WaitOptions<T>): Promise<boolean>
  stop(): Promise<void>
}

export function createReflector<O extends KubernetesObject, T>(
  options: ReflectorOptions<O, T>
): Reflector<T> {
  const { client, path, query = {}, clock } = options
  const kept = new Map<string, T>()
  const waiters = createWaiters<T>()
  const stopping = new AbortController()
  let resourceVersion: string | undefined
  let lastContact: number | undefined
  let running: Promise<void> | undefined
  let settleSynced = () => {}
  const whenSynced = new Promise<void>(resolve => {
    settleSynced = resolve
  })

  return {
    start() {
      running ??= run()
    },
    synced: () =>
      lastContact !== undefined && clock() - lastContact <= (options.staleAfterMs ?? 150_000),
    whenSynced,
    values: () => kept.values(),
    get: uid => kept.get(uid),
    changed: (uid, wait) => waiters.wait(uid, kept.get(uid), wait),
    async stop() {
      stopping.abort()
      await running
    }
  }

  async function run(): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        if (resourceVersion === undefined) await list()
        failures = (await follow()) ? 0 : failures + 1
      } catch (error) {
        if (stopping.signal.aborted) return
        options.onFault?.(error)
        failures += 1
        if (mustListAgain(error, failures)) resourceVersion = undefined
      }
      await pause(failures)
    }
  }

  /** All pages, then one exchange of the copy: while a new list is under way the former one answers. */
  async function list(): Promise<void> {
    const found = new Map<string, T>()
    let next: string | undefined
    let version: string
    do {
      const page = await pageAfter(next)
      for (const object of page.items) {
        const projected = options.project(object)
        if (projected !== undefined) found.set(uidOf(object), projected)
      }
      next = page.metadata.continue || undefined
      version = page.metadata.resourceVersion
    } while (next !== undefined)
    for (const uid of [...kept.keys()]) if (!found.has(uid)) put(uid, undefined)
    for (const [uid, value] of found) put(uid, value)
    resourceVersion = version
    lastContact = clock()
    settleSynced()
  }

  /** Attack: a few pods of a megabyte each would make every page too large, and the list could never end. */
  async function pageAfter(next: string | undefined): Promise<ListPage<O>> {
    for (let limit = options.pageSize ?? 100; ; limit = Math.ceil(limit / 4)) {
      try {
        return await client.list<O>(path, { ...query, limit, continue: next }, stopping.signal)
      } catch (error) {
        const tooLarge = error instanceof KubernetesError && error.code === 'TooLarge'
        if (!tooLarge || limit === 1) throw error
      }
    }
  }

  /** Until the server ends the watch, as it does every few minutes. False if nothing at all came. */
  async function follow(): Promise<boolean> {
    const events = client.watch<O>(
      path,
      { ...query, resourceVersion, timeoutSeconds: 300 + Math.floor(options.random() * 300) },
      stopping.signal,
      () => {
        lastContact = clock()
      }
    )
    const before = lastContact
    let heard = false
    try {
      for await (const { type, object } of events) {
        heard = true
        lastContact = clock()
        if (type !== 'BOOKMARK')
          put(uidOf(object), type === 'DELETED' ? undefined : options.project(object))
        // Last: an event that could not be taken in must not count as seen.
        resourceVersion = object.metadata.resourceVersion ?? resourceVersion
      }
    } catch (error) {
      // The API server opens a watch from a version that is too old, too, and only then says so.
      if (!heard && !isPassing(error)) lastContact = before
      throw error
    }
    return heard
  }

  function put(uid: string, after: T | undefined): void {
    const before = kept.get(uid)
    if (before === undefined && after === undefined) return
    if (after === undefined) kept.delete(uid)
    else kept.set(uid, after)
    options.onChange?.({ uid, before, after })
    waiters.wake(uid, after)
  }

  async function pause(failures: number): Promise<void> {
    const longest = Math.min((options.backoffMs ?? 250) * 2 ** Math.min(failures, 10), 30_000)
    const time = failures === 0 ? 0 : longest * (0.5 + options.random() / 2)
    await sleep(time, undefined, { signal: stopping.signal }).catch(() => {})
  }
}

/**
 * The copy may be wrong, or the version that it follows is refused for good (a restored etcd): only what passes by itself
 * is waited for, and not for ever.
 */
function mustListAgain(error: unknown, failures: number): boolean {
  return !isPassing(error) || failures >= 3
}

function isPassing(error: unknown): boolean {
  return (
    error instanceof KubernetesError && (error.code === 'Unavailable' || error.code === 'Throttled')
  )
}

function uidOf(object: KubernetesObject): string {
  const uid = object.metadata?.uid
  if (!uid) throw new KubernetesError('Invalid', 'The API listed an object without a UID.')
  return uid
}
