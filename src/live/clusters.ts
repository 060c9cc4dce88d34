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
import { type LivePod, livePod } from './pod.ts'

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

export type ClusterTls = 'rayguard' | 'none'

/**
 * Attack: a pod of one namespace that names the UID of another namespace's RayCluster must not speak for it, so the
 * namespace is part of the key.
 */
export interface ClusterKey {
  namespace: string
  uid: string
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

type Count = Record<LivePod['node'], Record<ClusterTls, number>>

/** How long an answered pod counts that the watch has not shown: longer than a watch lags, shorter than a person acts. */
const expectedForMs = 2_000

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
      if (after && !before && expected.seen(after)?.leftAlone) options.onLeftAlone?.(after)
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

/**
 * The head decides, because every other pod has to reach it. Without one (it is being replaced) the workers do. Where
 * some have TLS and some do not, the cluster is on TLS: a straggler must not take it away from the others.
 */
export function sideOf({ head, worker }: Count): ClusterTls | undefined {
  for (const { rayguard, none } of [head, worker]) {
    if (rayguard > 0) return 'rayguard'
    if (none > 0) return 'none'
  }
  return undefined
}

interface Answered {
  key: string
  node: LivePod['node']
  tls: ClusterTls
  /** It would have TLS, had its cluster. */
  leftAlone: boolean
}

/**
 * Pods that were answered a moment ago. Between an answer and the pod in the watch lie some milliseconds, in which a label
 * of the namespace may change: the next pod of the same cluster is answered like the first. A pod has no name at
 * admission, so one that is seen takes any equal one away; what was never created is forgotten by time.
 *
 * Another replica does not know of them. That costs nothing where it decides alike (no live pods: TLS), and leaves the
 * watch's lag as the time in which a changed label can split a cluster that is just being made.
 */
function createExpected(clock: () => number) {
  let waiting: (Answered & { until: number })[] = []
  return {
    push(answered: Answered) {
      const now = clock()
      waiting = waiting.filter(({ until }) => until > now).slice(-10_000)
      waiting.push({ ...answered, until: now + expectedForMs })
    },
    /** What it was answered, where that is remembered. */
    seen({ namespace, cluster: { uid }, node, tls }: LivePod): Answered | undefined {
      const key = keyOf({ namespace, uid })
      const index = waiting.findIndex(
        each => each.key === key && each.node === node && each.tls === tls
      )
      return index >= 0 ? waiting.splice(index, 1)[0] : undefined
    },
    addTo(key: string, seen: Count): Count {
      const mine = waiting.filter(each => each.key === key && each.until > clock())
      if (mine.length === 0) return seen
      const sum = structuredClone(seen)
      for (const { node, tls } of mine) sum[node][tls] += 1
      return sum
    }
  }
}

function emptyCount(): Count {
  return { head: { rayguard: 0, none: 0 }, worker: { rayguard: 0, none: 0 } }
}

function keyOf({ namespace, uid }: ClusterKey): string {
  return `${namespace}/${uid}`
}
