/** Which outcomes become Events, and at which object; how they are written is the room `events/`. */
import { hostname } from 'node:os'
import { LRUCache } from 'lru-cache'
import { refusals } from '../../contract/enrollment.ts'
import type { EnrollmentObservation } from '../../enrollment/route.ts'
import {
  certificateDelayed,
  certificateNearItsEnd,
  certificateRefused,
  leftWithoutTls,
  lifetimeLabel,
  type Regarding
} from '../../events/reasons.ts'
import { createEventRecorder, type EventRecorder } from '../../events/recorder.ts'
import { nearness, nearSince } from '../../live/ends.ts'
import type { LivePod } from '../../live/pod.ts'
import type { ClusterReference } from '../../ray/owner.ts'
import type { Surroundings } from './component.ts'

export function createEvents(component: string, surroundings: Surroundings): EventRecorder {
  const { client, clocks, metrics, log } = surroundings
  return createEventRecorder({
    client,
    clock: clocks.wall,
    controller: `rayguard.dev/${component}`,
    // In a pod this is its name.
    instance: hostname(),
    onResult: metrics.event,
    onFault: error => log.warn({ err: error }, 'an Event could not be written')
  })
}

const delayedSeconds = 60
/** What befalls pods that are on their way out is no news. */
const ordinaryEnds = new Set(['PodNotFound', 'PodTerminating', 'PodFinished'])

/** Told of every outcome of an enrollment. */
export function enrollmentEvents(
  { tell }: EventRecorder,
  clock: () => number
): (observation: EnrollmentObservation) => void {
  const waitingSince = new LRUCache<string, number>({
    max: 5_000,
    ttl: 600_000,
    perf: { now: clock }
  })
  return ({ code, outcome: { facts } }) => {
    // Without a token that the API confirmed nothing is known of a pod.
    if (facts.pod === undefined) return
    const pod: Regarding = { apiVersion: 'v1', kind: 'Pod', ...facts.pod }
    const of = { pod, cluster: facts.owner && clusterOf(facts.owner, pod.namespace) }
    if (facts.lifetimeLabel !== undefined) tell(lifetimeLabel(of, facts.lifetimeLabel))
    if (code === 'Issued') {
      waitingSince.delete(pod.uid)
      return
    }
    const { status, text } = refusals[code]
    if (status === 409) return
    if (status !== 503) {
      if (!ordinaryEnds.has(code)) tell(certificateRefused(of, code, text))
      return
    }
    const since = waitingSince.get(pod.uid) ?? clock()
    // Each attempt keeps it alive; an agent asks at least once a minute.
    waitingSince.set(pod.uid, since)
    if (clock() - since >= delayedSeconds * 1000)
      tell(certificateDelayed(of, { code, text, seconds: delayedSeconds }))
  }
}

export interface LiveEvents {
  /** A pod that was answered without TLS, because its cluster has none, has come to be. */
  leftAlone(pod: LivePod): void
  /** Looks at the ends of all certificates. */
  sweep(pods: Iterable<LivePod>): void
}

/** Pods told of in one sweep: the others' turn comes with the next, and other Events find room meanwhile. */
const mostInSweep = 20
/**
 * For so long a day that has come is news. The API server keeps Events for an hour: while the one of another replica, or of
 * this one before it was started anew, is still there, the same is not written a second time.
 */
const newsMs = 50 * 60_000

export function liveEvents({ tell }: EventRecorder, clock: () => number): LiveEvents {
  const told = new LRUCache<string, true>({ max: 50_000 })
  return {
    leftAlone: ({ cluster, namespace }) => tell(leftWithoutTls(clusterOf(cluster, namespace))),
    sweep(pods) {
      let count = 0
      for (const found of pods) {
        const { agent, cluster, namespace, name, uid } = found
        const now = clock()
        const days = nearness(found, now)
        if (days === undefined || agent?.ended !== 'well') continue
        if (now - (nearSince(found, days) ?? now) > newsMs) continue
        const { notAfter } = agent
        const key = `${uid}/${notAfter}/${days}`
        if (told.has(key)) continue
        count += 1
        if (count > mostInSweep) return
        told.set(key, true)
        const pod: Regarding = { apiVersion: 'v1', kind: 'Pod', namespace, name, uid }
        const of = { pod, cluster: clusterOf(cluster, namespace) }
        for (const each of certificateNearItsEnd(of, { notAfter, days }))
          tell(each, () => told.delete(key))
      }
    }
  }
}

export function clusterOf(
  { apiVersion, name, uid }: ClusterReference,
  namespace: string
): Regarding {
  return { apiVersion, kind: 'RayCluster', namespace, name, uid }
}
