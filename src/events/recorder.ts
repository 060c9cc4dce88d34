/**
 * Writes Events: what happened to an object, where people look for it (`kubectl describe`).
 *
 * Decides how often and how much at most; never what is worth an Event. It disturbs nobody: telling returns at once, what
 * does not fit is dropped and counted, and a write that fails is not tried again unless it is told again.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { createQuota } from '../flow/quota.ts'
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import { path } from '../kubernetes/path.ts'
import type { Occurrence, Regarding } from './reasons.ts'

/** `repeated`: it stands there already, perhaps written by another replica. `dropped`: there were too many. */
export type EventResult = 'written' | 'repeated' | 'dropped' | 'failed'

export interface EventRecorder {
  /** `onLost`: it was dropped, or could not be written. */
  tell(occurrence: Occurrence, onLost?: () => void): void
  /** Writes no more than what is on its way. */
  stop(): Promise<void>
}

export interface EventRecorderOptions {
  client: Client
  /** Milliseconds since the epoch. */
  clock: () => number
  /** Such as `rayguard.dev/webhook`. */
  controller: string
  /** The replica. */
  instance: string
  onResult(reason: string, result: EventResult): void
  /** Once for each kind of failure in a row. */
  onFault(error: unknown): void
}

const hourMs = 3_600_000
const mostWaiting = 200
/** events.k8s.io/v1 takes 1 kB. */
const longestNote = 1_000

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { client, clock, controller, instance, onResult, onFault } = options
  // A cluster that falls apart must not fill etcd: in all, and for each object.
  const inAll = createQuota({ burst: 100, periodSeconds: 60, clock })
  const ofObject = createQuota({ burst: 10, periodSeconds: 600, clock, keys: 5_000 })
  const told = new LRUCache<string, true>({ max: 10_000 })
  const waiting: { occurrence: Occurrence; name: string; onLost: () => void }[] = []
  let running: Promise<void> | undefined
  let stopped = false
  let lastFault = ''

  return {
    tell(occurrence, onLost = () => {}) {
      if (stopped) return
      const name = eventName(occurrence, clock())
      if (told.has(name)) return onResult(occurrence.reason, 'repeated')
      if (waiting.length >= mostWaiting || isTooMuch(occurrence.regarding)) {
        onLost()
        return onResult(occurrence.reason, 'dropped')
      }
      told.set(name, true)
      waiting.push({ occurrence, name, onLost })
      running ??= writeAll()
    },
    async stop() {
      stopped = true
      waiting.length = 0
      await running
    }
  }

  function isTooMuch({ uid }: Regarding): boolean {
    return ofObject.take(uid) > 0 || inAll.take('') > 0
  }

  /** One after the other: Events can wait, and the connections are for enrollments. */
  async function writeAll(): Promise<void> {
    // The caller's own work first, even where the first write throws at once.
    await Promise.resolve()
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { occurrence, name, onLost } = next
      const result = await write(occurrence, name)
      if (result === 'failed') {
        told.delete(name)
        onLost()
      }
      onResult(occurrence.reason, result)
    }
    // In the same turn as the last look into the queue: what is told from now on starts anew.
    running = undefined
  }

  async function write(occurrence: Occurrence, name: string): Promise<EventResult> {
    const { namespace } = occurrence.regarding
    try {
      const place = path`/apis/events.k8s.io/v1/namespaces/${namespace}/events`
      await client.create(place, eventOf(occurrence, name))
      lastFault = ''
      return 'written'
    } catch (error) {
      const code = error instanceof KubernetesError ? error.code : 'Unknown'
      if (code === 'Conflict') return 'repeated'
      if (code !== lastFault) onFault(error)
      lastFault = code
      return 'failed'
    }
  }

  /** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ */
  function eventOf({ regarding, related, ...occurrence }: Occurrence, name: string): object {
    return {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace: regarding.namespace },
      eventTime: new Date(clock()).toISOString().replace('Z', '000Z'),
      reportingController: controller,
      reportingInstance: instance,
      action: occurrence.action,
      reason: occurrence.reason,
      type: occurrence.type,
      note: occurrence.note.slice(0, longestNote),
      regarding,
      ...(related === undefined ? {} : { related })
    }
  }
}

/**
 * The same for the same occurrence within an hour (or whenever, if it is told once), whoever tells it: the API server then
 * has it once. An hour is also how long it keeps Events by default.
 */
function eventName(
  { regarding, related, reason, key = '', once }: Occurrence,
  now: number
): string {
  const hour = once ? '' : Math.floor(now / hourMs)
  const parts = JSON.stringify([regarding.uid, related?.uid, reason, key, hour])
  const digest = createHash('sha256').update(parts).digest('hex').slice(0, 16)
  return `${regarding.name.slice(0, 200)}.${digest}`
}
