/**
 * What the webhook knows of running Ray clusters, between the watch of `live/` and the decision of `admission/`.
 */
import type { AdmissionOutcome } from '../../admission/admit.ts'
import type { AdmissionReview } from '../../admission/review.ts'
import { type ClusterKey, type ClusterTls, createLiveClusters } from '../../live/clusters.ts'
import { controllingRayCluster } from '../../ray/owner.ts'
import type { Surroundings } from './component.ts'
import { createEvents, liveEvents } from './events.ts'
import type { NamespaceIndex } from './namespaces.ts'

export interface Live {
  start(): void
  readonly whenSynced: Promise<void>
  /** What the live pods of the reviewed pod's RayCluster have. */
  tlsFor(review: AdmissionReview): ClusterTls | undefined
  /** Remembered in memory alone, until the watch shows the pod. */
  answered(review: AdmissionReview, outcome: AdmissionOutcome): void
  stop(): Promise<void>
}

/** Ends are told 14, 7 and 1 day ahead; an hour more or less does not matter. */
const sweepEveryMs = 3_600_000

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
  return {
    start() {
      clusters.start()
      void clusters.whenSynced.then(sweep)
    },
    whenSynced: clusters.whenSynced,
    tlsFor(review) {
      const key = keyOf(review)
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
  if (request.operation !== 'CREATE') return undefined
  const cluster = controllingRayCluster(request.object)
  return cluster && { namespace: request.namespace ?? '', uid: cluster.uid }
}
