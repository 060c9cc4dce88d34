import type { ServerResponse } from 'node:http'
import type { KubernetesObject } from '../kubernetes/objects.ts'
import { matches, type Store, type StoredEvent, type Target } from './stand-in-store.ts'

export interface WatchSwitch {
  open: Set<OpenWatch>
  /** Cuts every open watch in the middle, as a network or a restart does. */
  dropAll(): void
  bookmarkAll(): void
}

interface OpenWatch {
  drop(): void
  bookmark(): void
}

export function createWatchSwitch(): WatchSwitch {
  const open = new Set<OpenWatch>()
  return {
    open,
    dropAll() {
      for (const watch of open) watch.drop()
    },
    bookmarkAll() {
      for (const watch of open) watch.bookmark()
    }
  }
}

/** A real server sends one about once a minute. */
const bookmarkEveryMs = 30_000

/** Answers a watch: what came since `resourceVersion`, then what comes, until the client or `timeoutSeconds` ends it. */
export function serveWatch(
  store: Store,
  target: Target,
  query: URLSearchParams,
  response: ServerResponse,
  watches: WatchSwitch
): void {
  const past = store.since(Number(query.get('resourceVersion') ?? store.version))
  response.writeHead(200, { 'content-type': 'application/json' })
  response.flushHeaders()
  const send = (type: string, object: object) =>
    response.write(`${JSON.stringify({ type, object })}\n`)
  if (past === 'expired') {
    // The API server has sent 200 by then, so that the status comes as an event.
    send('ERROR', { kind: 'Status', code: 410, message: 'too old resource version' })
    response.end()
    return
  }
  const forward = (event: StoredEvent) => {
    const was = event.before !== undefined && matches(event.before, target, query)
    const is = event.type !== 'DELETED' && matches(event.object, target, query)
    // An object that leaves the selection is deleted for the watcher, one that enters is new.
    if (was && is) send('MODIFIED', event.object)
    else if (is) send('ADDED', event.object)
    else if (was) send('DELETED', event.object)
  }
  const bookmark = () => {
    const { apiVersion, kind } = target
    const at: KubernetesObject = {
      apiVersion,
      kind,
      metadata: { resourceVersion: String(store.version) }
    }
    send('BOOKMARK', at)
  }
  const unsubscribe = store.subscribe(forward)
  const control = { drop: () => void response.destroy(), bookmark }
  watches.open.add(control)
  const seconds = Number(query.get('timeoutSeconds') ?? 1800)
  const timer = setTimeout(() => response.end(), seconds * 1000)
  timer.unref()
  const bookmarks = setInterval(bookmark, bookmarkEveryMs)
  bookmarks.unref()
  response.on('close', () => {
    clearTimeout(timer)
    clearInterval(bookmarks)
    unsubscribe()
    watches.open.delete(control)
  })
  for (const event of past) forward(event)
}
