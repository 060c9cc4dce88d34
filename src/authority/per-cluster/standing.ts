/**
 * On which CA a RayCluster is: its own, or the one that all share. Pure.
 *
 * Pods of one cluster under two CAs cannot talk to each other, and Ray never reads its trust anchors again. So a change of
 * the setting reaches a RayCluster only when none of its pods can hold a certificate of the other side; until then its new
 * pods join the old one.
 */
import type { Found } from './entries.ts'

export interface ClusterPod {
  /** Milliseconds since the epoch, by the API server's clock. */
  createdAt: number
  /** By what its agent has said; `unknown` while it has said nothing. */
  certificate: 'held' | 'none' | 'unknown'
}

export interface Facts {
  trust: 'perCluster' | 'shared'
  /** Since when `perCluster` holds; 0: always, no pod is older than it. Milliseconds since the epoch. */
  since: number
  found: Exclude<Found, 'damaged'>
  /** Of the RayCluster, as they live now; the one that asks may be among them. */
  pods: readonly ClusterPod[]
  now: number
}

export type Standing =
  /** The CA is there. */
  | 'own'
  | 'make'
  | 'shared'
  /** As `shared`, for a RayCluster that is still to change: it is written down. */
  | 'stillShared'
  /** As `own`, for a RayCluster that is still to change. */
  | 'stillOwn'
  /** As `shared`, and its CA is not needed any more. */
  | 'release'
  /** Its pods trust a CA that is nowhere to be found. */
  | 'lost'

/** For so long after the change another replica may still have signed by the former setting. */
export const settlingMs = 5 * 60_000
/** Between a signature and the pod's word of it in the watch. */
const unseenMs = 60_000

export function standingOf({ trust, since, found, pods, now }: Facts): Standing {
  const holds = pods.some(({ certificate }) => certificate === 'held')
  if (trust === 'shared') {
    if (found?.trust !== 'perCluster') return 'shared'
    return holds || now - (found.usedAt ?? 0) < unseenMs ? 'stillOwn' : 'release'
  }
  if (found?.trust === 'perCluster') return 'own'
  const older = pods.some(
    ({ createdAt, certificate }) => createdAt < since + settlingMs && certificate !== 'none'
  )
  // Attack: only time makes a cluster one from before. What a pod's status says can be forged by who may write it, and
  // would let a new cluster have certificates that others from before accept.
  if (found?.trust === 'shared') {
    return holds || (since > 0 && older) || now - found.usedAt < unseenMs ? 'stillShared' : 'make'
  }
  if (since > 0 && older) return 'stillShared'
  return holds ? 'lost' : 'make'
}
