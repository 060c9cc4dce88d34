/**
 * The running Ray clusters and whether they speak TLS, from a watch of Ray pods.
 *
 * Decides which side a new pod of a RayCluster has to be on so that the cluster stays whole; never whether the namespace
 * wants TLS, and never anything about identity. Knows pods by what is read of them in `pod.ts` and nothing else.
 */
import type { Client } from '../kubernetes/client.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { type Change, createReflector } from '../kubernetes/reflector.ts'
import { clusterLabel } from '../ray/classify.ts'
import { createExpected } from './expected.ts'
import { type LivePod, livePod } from './pod.ts'
import { type ClusterKey, type ClusterTls, type Count, emptyCount, keyOf, sideOf } from './sides.ts'

export interface LiveClusters {
  start(): void
  /** The copy is whole and follows the API. */
  synced(): boolean
  readonly whenSynced: Promise<void>
  /** `undefined`: no pod of this RayCluster lives, so a new one may be either. */
  tlsOf(cluster: ClusterKey): ClusterTls | undefined
  /** A pod was answered at admission and will be seen in a moment. */
  expect(
    cluster: ClusterKey,
    node: LivePod['node'],
    tls: ClusterTls,
    how?: { leftAlone: boolean }
  ): void
  /** The live pods of a RayCluster. */
  podsOf(cluster: ClusterKey): Iterable<LivePod>
  /** RayClusters that speak no TLS as long as their pods live. */
  withoutTls(): number
  pods(): IterableIterator<LivePod>
  stop(): Promise<void>
}

export interface LiveClustersOptions {
  client: Client
  random: () => number
  /** Milliseconds that never go back. */
  clock: () => number
  onFault?(error: unknown): void
  /** A pod has come to be that was answered as `leftAlone`. */
  onLeftAlone?(pod: LivePod): void
  /** After the first whole list, too, for each pod in it. */
  onChange?(change: Change<LivePod>): void
  backoffMs?: number
}

export function createLiveClusters(options: LiveClustersOptions): LiveClusters {
  const counts = new Map<string, Count>()
  const living = new Map<string, Map<string, LivePod>>()
  const expected = createExpected(options.clock)
  const reflector = createReflector<Pod, LivePod>({
    ...options,
    path: '/api/v1/pods',
    query: { labelSelector: clusterLabel },
    project: livePod,
    onChange(change) {
      const { before, after } = change
      if (before) add(before, -1)
      if (after) add(after, 1)
      if (before) note(before, false)
      if (after) note(after, after.live)
      if (after && !before && expected.seenLeftAlone(after)) options.onLeftAlone?.(after)
      options.onChange?.(change)
    }
  })

  return {
    start: reflector.start,
    synced: reflector.synced,
    whenSynced: reflector.whenSynced,
    tlsOf(cluster) {
      const seen = counts.get(keyOf(cluster)) ?? emptyCount()
      return sideOf(expected.addTo(keyOf(cluster), seen))
    },
    expect: (cluster, node, tls, { leftAlone } = { leftAlone: false }) =>
      expected.push({ key: keyOf(cluster), node, tls, leftAlone }),
    podsOf: cluster => living.get(keyOf(cluster))?.values() ?? [],
    withoutTls: () => [...counts.values()].filter(count => sideOf(count) === 'none').length,
    pods: reflector.values,
    stop: reflector.stop
  }

  function note(pod: LivePod, lives: boolean): void {
    const key = keyOf({ namespace: pod.namespace, uid: pod.cluster.uid })
    const pods = living.get(key) ?? new Map<string, LivePod>()
    if (lives) pods.set(pod.uid, pod)
    else pods.delete(pod.uid)
    if (pods.size === 0) living.delete(key)
    else living.set(key, pods)
  }

  function add({ namespace, cluster: { uid }, node, tls, live }: LivePod, by: number): void {
    if (!live || tls === 'other') return
    const key = keyOf({ namespace, uid })
    const count = counts.get(key) ?? emptyCount()
    count[node][tls] += by
    const total = [count.head, count.worker].flatMap(Object.values).reduce((sum, n) => sum + n, 0)
    if (total === 0) counts.delete(key)
    else counts.set(key, count)
  }
}
