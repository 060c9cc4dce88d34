/**
 * What the webhook knows of running Ray clusters, between the watch of `live/` and the decision of `admission/`.
 */
import type { AdmissionOutcome } from '../../admission/admit.ts'
import type { AdmissionReview } from '../../admission/review.ts'
import type { KubernetesObject } from '../../kubernetes/objects.ts'
import { createLiveClusters } from '../../live/clusters.ts'
import { certificateEnd, nearDays, nearness } from '../../live/ends.ts'
import type { LivePod } from '../../live/pod.ts'
import type { ClusterKey, ClusterTls } from '../../live/sides.ts'
import { controllingRayCluster } from '../../ray/owner.ts'
import type { Surroundings } from './component.ts'
import { createEvents, liveEvents } from './events.ts'
import type { NamespaceIndex } from './namespaces.ts'

export interface Live {
  start(): void
  readonly whenSynced: Promise<void>
  /** False where the answer hangs on the pods of a RayCluster and the watch is lost. */
  knows(review: AdmissionReview): boolean
  /** What the live pods of the reviewed pod's RayCluster have. */
  tlsFor(review: AdmissionReview): ClusterTls | undefined
  /** The same for a RayCluster itself; of other resources it is not known which RayCluster comes of them. */
  tlsOfCluster(review: AdmissionReview): ClusterTls | undefined
  /** Remembered in memory alone, until the watch shows the pod. */
  answered(review: AdmissionReview, outcome: AdmissionOutcome): void
  stop(): Promise<void>
}

/** Replicas find the same ends at about the same time, while the Event of the first is still there for the others. */
const sweepEveryMs = 60_000

export function createLive(surroundings: Surroundings, namespaces: NamespaceIndex): Live {
  const { client, clocks, random, log, metrics, readiness } = surroundings
  const recorder = createEvents('webhook', surroundings)
  const events = liveEvents(recorder, clocks.api)
  let sweeping: NodeJS.Timeout | undefined
  let stopped = false
  const clusters = createLiveClusters({
    client,
    random: random.fraction,
    clock: clocks.steady,
    onLeftAlone: events.leftAlone,
    onFault(error) {
      log.warn({ watch: 'ray pods', err: error }, 'a watch failed and is tried again')
    }
  })
  readiness.add('clusters', () =>
    clusters.synced() ? undefined : 'the running Ray clusters are not known (yet)'
  )
  metrics.gauge(
    'rayguard_namespaces_paused',
    'Namespaces that Rayguard leaves out because of the label rayguard.dev/paused.',
    namespaces.paused
  )
  metrics.gauge(
    'rayguard_clusters_without_tls',
    'RayClusters whose running pods have no TLS; new pods of them get none either.',
    clusters.withoutTls
  )
  metrics.gauges(
    'rayguard_pod_certificates_near_end',
    'Running Ray pods whose certificate ends within so long, or within the last quarter of a shorter life; 0d: it has ended.',
    'within',
    () => countNear(clusters.pods(), clocks.api())
  )
  metrics.gauge(
    'rayguard_pod_certificate_earliest_expiry_timestamp_seconds',
    'When the first of the certificates of running Ray pods ends, as the pods themselves say; NaN where there is none.',
    () => earliestEnd(clusters.pods())
  )
  return {
    start() {
      clusters.start()
      void clusters.whenSynced.then(sweep)
    },
    whenSynced: clusters.whenSynced,
    knows: review => (keyOf(review) ?? reviewedCluster(review)) === undefined || clusters.synced(),
    tlsFor(review) {
      const key = keyOf(review)
      return key && clusters.tlsOf(key)
    },
    tlsOfCluster(review) {
      const key = reviewedCluster(review)
      return key && clusters.tlsOf(key)
    },
    answered(review, { allowed, kind, tls, dryRun, findings }) {
      const key = keyOf(review)
      if (!key || !allowed || dryRun || (kind !== 'head' && kind !== 'worker')) return
      const leftAlone = findings.some(({ id }) => id === 'LiveClusterWithoutTls')
      if (tls === 'rayguard' || tls === 'none') clusters.expect(key, kind, tls, { leftAlone })
    },
    async stop() {
      stopped = true
      clearTimeout(sweeping)
      await Promise.all([clusters.stop(), recorder.stop()])
    }
  }

  function sweep(): void {
    if (stopped) return
    events.sweep(clusters.pods())
    sweeping = setTimeout(sweep, sweepEveryMs)
    sweeping.unref()
  }
}

function keyOf({ request }: AdmissionReview): ClusterKey | undefined {
  if (request.operation !== 'CREATE' || request.kind.kind !== 'Pod') return undefined
  const cluster = controllingRayCluster(request.object)
  return cluster && { namespace: request.namespace ?? '', uid: cluster.uid }
}

function reviewedCluster({
  request: { kind, namespace = '', object }
}: AdmissionReview): ClusterKey | undefined {
  const { uid } = (object as Partial<KubernetesObject> | null)?.metadata ?? {}
  return kind.kind === 'RayCluster' && typeof uid === 'string' ? { namespace, uid } : undefined
}

/** Who ends within a day ends within a week, too. */
function countNear(pods: Iterable<LivePod>, now: number): Record<string, number> {
  const counts = new Map(nearDays.map(days => [days, 0]))
  for (const pod of pods) {
    const near = nearness(pod, now)
    if (near === undefined) continue
    for (const days of nearDays.filter(each => each >= near))
      counts.set(days, (counts.get(days) ?? 0) + 1)
  }
  return Object.fromEntries([...counts].map(([days, count]) => [`${days}d`, count]))
}

function earliestEnd(pods: Iterable<LivePod>): number {
  let earliest = Number.POSITIVE_INFINITY
  for (const pod of pods) earliest = Math.min(earliest, certificateEnd(pod) ?? earliest)
  return Number.isFinite(earliest) ? Math.floor(earliest / 1000) : Number.NaN
}
