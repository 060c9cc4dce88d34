/**
 * On which CA a RayCluster is: its own, or the one that all share. Pure.
 *
 * Pods of one cluster under two CAs cannot talk to each other, and Ray never reads its trust anchors again. So a change of
 * the setting reaches a RayCluster only when none of its pods can hold a certificate of the other side; until then its new
 * pods join the old one. For a settling time after a change all stays as it was, because others may not know of it yet.
 *
 * | the record   | its entry | settling    | later, a pod may hold the other side's | later, none can           |
 * | ------------ | --------- | ----------- | -------------------------------------- | ------------------------- |
 * | `perCluster` | own CA    | own         | own                                    | own                       |
 * |              | shared    | stillShared | stillShared                            | make                      |
 * |              | none      | stillShared | stillShared, of before; else lost      | make                      |
 * | `shared`     | own CA    | stillOwn    | stillOwn                               | release                   |
 * |              | shared    | stillShared | shared                                 | shared                    |
 * |              | none      | stillShared | shared                                 | shared                    |
 *
 * Without an entry a pod that holds a certificate of neither means `lost` in each of these, and one that nobody can judge
 * (yet) `unjudged`; `make` is `headless` as long as no head lives. In `still...` the entry is written and dated before
 * anything is signed, in one place for all replicas, so that who comes second sees it.
 */
import type { Found } from './entries.ts'
import { settlingMs, type TrustRecord } from './record.ts'

export interface ClusterPod {
  node: 'head' | 'worker'
  /** Milliseconds since the epoch, by the API server's clock. */
  createdAt: number
  /**
   * By what its agent has said; `unknown` while it has said nothing. `foreign`: it holds one, and not of the CA that all
   * share, or of what is trusted beside that. `unjudged`: it holds one, and which CA all share is not known (yet).
   */
  certificate: 'held' | 'foreign' | 'unjudged' | 'none' | 'unknown'
  /** `authorityKeySha256` of the CA that has signed it; absent where agents are from before that was said. */
  anchorKeySha256?: string
}

export interface Facts {
  record: Pick<TrustRecord, 'trust' | 'since'>
  found: Exclude<Found, 'damaged'>
  /** Of the RayCluster, as they live now; the one that asks may be among them. */
  pods: readonly ClusterPod[]
  /** Milliseconds since the epoch, by the API server's clock. */
  now: number
}

export type Standing =
  /** The CA is there. */
  | 'own'
  | 'make'
  /** As `make`, when its head has come to be. */
  | 'headless'
  | 'shared'
  /** As `shared`, for a RayCluster that is still to change: it is written down. */
  | 'stillShared'
  /** As `own`, for a RayCluster that is still to change. */
  | 'stillOwn'
  /** As `shared`, and its CA is not needed any more. */
  | 'release'
  /** Its pods trust a CA that is nowhere to be found. */
  | 'lost'
  /** Whether they do so cannot be told. */
  | 'unjudged'

/**
 * Whether pods may trust a CA of their RayCluster that is gone with its Secret. Another replica may have released it before,
 * under `shared`, whichever setting holds by now: then who has said what it holds holds one of the shared CA.
 */
export function mayTrustOwn(
  { trust }: Pick<TrustRecord, 'trust'>,
  pods: readonly ClusterPod[]
): boolean {
  const some = (which: ClusterPod['certificate']) =>
    pods.some(({ certificate }) => certificate === which)
  if (some('foreign')) return true
  if (some('held')) return false
  return trust === 'perCluster' || some('unknown')
}

/** Whether pods hold certificates of their RayCluster's CA, and all of them of another one than that of these keys. */
export function holdAnother(pods: readonly ClusterPod[], keysSha256: readonly string[]): boolean {
  const foreign = pods.filter(({ certificate }) => certificate === 'foreign')
  const isOther = ({ anchorKeySha256: said }: ClusterPod) =>
    said !== undefined && !keysSha256.includes(said)
  return foreign.length > 0 && foreign.every(isOther)
}

/** Between a signature and the pod's word of it in the watch, which counts as good for 150 s after it has died. */
export const unseenMs = 3 * 60_000

export function standingOf({ record: { trust, since }, found, pods, now }: Facts): Standing {
  const settled = since + settlingMs
  const settling = now < settled
  // Attack: RayClusters that nobody runs, and workers that name them as their owners, to have CAs made. KubeRay makes the
  // head first, and a head that asks is one that lives.
  const make = pods.some(({ node }) => node === 'head') ? 'make' : 'headless'
  if (found === undefined) {
    if (pods.some(({ certificate }) => certificate === 'foreign')) return 'lost'
    if (pods.some(({ certificate }) => certificate === 'unjudged')) return 'unjudged'
    if (settling) return 'stillShared'
    if (trust === 'shared') return 'shared'
    // Attack: only time makes a cluster one from before. What a pod's status says can be forged by who may write it, and
    // would let a new cluster have certificates that others from before accept.
    const older = ({ createdAt, certificate }: ClusterPod) =>
      createdAt < settled && certificate !== 'none'
    if (pods.some(older)) return 'stillShared'
    return pods.some(({ certificate }) => certificate === 'held') ? 'lost' : make
  }
  // Of what has said nothing yet, only those count that were there when the last one was signed.
  const { usedAt = 0 } = found
  const last = Math.max(settled, usedAt + unseenMs)
  const holds = ({ createdAt, certificate }: ClusterPod) =>
    certificate === 'unknown' ? createdAt < last : certificate !== 'none'
  const mayHold = now < last || pods.some(holds)
  if (found.trust === 'perCluster') {
    if (trust === 'perCluster') return 'own'
    return mayHold ? 'stillOwn' : 'release'
  }
  if (trust === 'perCluster') return mayHold ? 'stillShared' : make
  return settling ? 'stillShared' : 'shared'
}
