/** How many pods of a RayCluster live on which side, and which side that makes the cluster's. Pure. */
import type { LivePod } from './pod.ts'

export type ClusterTls = 'rayguard' | 'none'

/**
 * Attack: a pod of one namespace that names the UID of another namespace's RayCluster must not speak for it, so the
 * namespace is part of the key.
 */
export interface ClusterKey {
  namespace: string
  uid: string
}

export type Count = Record<LivePod['node'], Record<ClusterTls, number>>

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

export function emptyCount(): Count {
  return { head: { rayguard: 0, none: 0 }, worker: { rayguard: 0, none: 0 } }
}

export function keyOf({ namespace, uid }: ClusterKey): string {
  return `${namespace}/${uid}`
}
