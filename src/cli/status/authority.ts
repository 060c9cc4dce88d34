/**
 * Who signs Ray pods, what they trust, and which step of a rotation comes next. Pure.
 *
 * A step is ready only where nothing speaks against it: a pod that has not said what it trusts, or a replica that still
 * answers with other certificates, holds it up. Pods under a CA of their RayCluster have no part in it: nothing
 * changes for them.
 */
import type {
  AnchorStatus,
  AuthorityStatus,
  DueCasStatus,
  TrustStatus
} from '../../contract/status.ts'
import type { Pod } from '../../kubernetes/objects.ts'
import {
  type Anchor,
  completed,
  type SaidAnchors,
  signerOf,
  strangers,
  trusts
} from '../../live/anchors.ts'
import { livePod } from '../../live/pod.ts'
import type { Replica } from './observe.ts'
import { isReady } from './replicas.ts'

/** `next` is newer than the one that signs; `former` is not. */
export type AnchorRole = 'signing' | 'next' | 'former'

export interface AnchorReport extends AnchorStatus {
  role: AnchorRole
  /** Live pods whose certificate it has signed. */
  signed: number
  /** Live pods with a certificate that trust it. */
  trusted: number
}

/** All absent but the name while it has no certificate, or has not said so yet. */
export interface PodAnchors extends Partial<SaidAnchors> {
  name: string
}

export interface ClusterAnchors {
  namespace: string
  name: string
  uid: string
  pods: PodAnchors[]
  /** Names of pods that others of the cluster do not trust. */
  strangers: string[]
  /** What its pods are under; `unknown` where none has said it. */
  trust: 'perCluster' | 'shared' | 'unknown'
}

export interface AuthorityReport {
  anchors: AnchorReport[]
  clusters: ClusterAnchors[]
  /** Replicas of the enrollment server answer with different certificates. */
  differing: boolean
  /** Why a replica gets nothing signed now. */
  problems: { name: string; problem: string }[]
  /** Absent where no replica says it. */
  trust?: TrustStatus
  /** By the worst of all replicas; absent while one has not looked at all CAs of RayClusters. */
  due?: DueCasStatus
  /** Absent where not all pods were looked at. */
  next?: { step: 'none' | 'switch' | 'finish'; ready: boolean }
}

/** `undefined` where no replica says who signs. `rayPods`: of the whole cluster, unless `partial`. */
export function authorityReport(
  replicas: readonly Replica[],
  rayPods: readonly Pod[],
  { partial = false } = {}
): AuthorityReport | undefined {
  const told = authoritiesOf(replicas)
  const [authority] = told
  if (authority === undefined) return undefined
  const isOwn = ownAnchors(replicas)
  const known = knownAnchors(replicas)
  const clusters = clustersOf(rayPods, known, isOwn)
  const pods = clusters.flatMap(cluster => concerned(cluster, isOwn))
  const anchors = [authority, ...authority.alsoTrusted].map(anchor =>
    anchorReport(anchor, authority, pods.filter(hasCertificate))
  )
  const silent = replicas.filter(
    replica =>
      replica.component === 'enrollment' &&
      (isAway(replica) || (!replica.status?.authority && isReady(replica)))
  )
  const differing = new Set(told.map(fingerprints)).size > 1
  const due = silent.length === 0 ? worstOf(told.map(({ trust }) => trust?.due)) : undefined
  const settled = !differing && silent.length === 0
  return {
    ...{ anchors, clusters, differing, problems: problemsOf(replicas) },
    ...(partial ? {} : { next: nextStep(anchors, pods, settled) }),
    ...(authority.trust === undefined ? {} : { trust: authority.trust }),
    ...(due === undefined ? {} : { due })
  }
}

/** Of replicas that know it. */
function authoritiesOf(replicas: readonly Replica[]): AuthorityStatus[] {
  return replicas.flatMap(replica => (isAway(replica) ? [] : (replica.status?.authority ?? [])))
}

function problemsOf(replicas: readonly Replica[]): AuthorityReport['problems'] {
  return replicas.flatMap(({ name, status }) => {
    const problem = status?.authority && status.checks.authority
    return problem === undefined || problem === 'ok' ? [] : [{ name, problem }]
  })
}

/** It has not reached its CA since it started, so it knows nothing of it. */
export function isAway({ status }: Replica): boolean {
  return status?.authority?.anchorSha256 === ''
}

/** Where a RayCluster can have a CA of its own: every anchor that is not one of the CA's. */
export function ownAnchors(replicas: readonly Replica[]): (anchor: Anchor) => boolean {
  const [authority] = authoritiesOf(replicas)
  const { trust } = authority ?? {}
  if (trust?.setting !== 'perCluster' && !trust?.waiting) return () => false
  const known = knownAnchors(replicas)
  return anchor => signerOf(anchor, known) === undefined
}

/** The CA that signs first; none where no replica says who does. */
export function knownAnchors(replicas: readonly Replica[]): AnchorStatus[] {
  const [authority] = authoritiesOf(replicas)
  return authority === undefined ? [] : [authority, ...authority.alsoTrusted]
}

function worstOf(told: readonly (DueCasStatus | undefined)[]): DueCasStatus | undefined {
  return told.reduce(
    (worst, each) =>
      worst &&
      each && {
        unsealed: Math.max(worst.unsealed, each.unsealed),
        formerSeal: Math.max(worst.formerSeal, each.formerSeal),
        renewal: Math.max(worst.renewal, each.renewal)
      }
  )
}

function fingerprints({ anchorSha256, alsoTrusted }: AuthorityStatus): string {
  return [anchorSha256, ...alsoTrusted.map(anchor => anchor.anchorSha256).sort()].join()
}

function clustersOf(
  rayPods: readonly Pod[],
  known: readonly Anchor[],
  isOwn: (anchor: Anchor) => boolean
): ClusterAnchors[] {
  const clusters = new Map<string, ClusterAnchors>()
  for (const pod of rayPods) {
    const found = livePod(pod)
    if (!found?.live || found.tls !== 'rayguard') continue
    const { namespace, name, cluster, agent } = found
    const key = `${namespace}/${cluster.uid}`
    const report = clusters.get(key) ?? {
      ...{ namespace, name: cluster.name, uid: cluster.uid, pods: [], strangers: [] },
      trust: 'unknown'
    }
    clusters.set(key, report)
    report.pods.push({
      name,
      ...(agent?.ended === 'well' ? anchorsOf(completed(agent, known)) : {})
    })
  }
  return [...clusters.values()]
    .map(cluster => judged(cluster, isOwn))
    .sort((a, b) => `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`))
}

function anchorsOf(said: SaidAnchors): SaidAnchors {
  const { anchorSha256, anchorKeySha256, trustedSha256 = [anchorSha256], trustedKeySha256 } = said
  return {
    ...{ anchorSha256, trustedSha256 },
    ...(anchorKeySha256 && { anchorKeySha256 }),
    ...(trustedKeySha256 && { trustedKeySha256 })
  }
}

function judged(cluster: ClusterAnchors, isOwn: (anchor: Anchor) => boolean): ClusterAnchors {
  const held = cluster.pods.filter(hasCertificate)
  const shared = held.length > 0 ? 'shared' : 'unknown'
  return {
    ...cluster,
    strangers: strangers(held, isOwn).map(({ name }) => name),
    trust: held.some(isOwn) ? 'perCluster' : shared
  }
}

/** By a change of the CA. A pod that is still without a certificate gets it from the CA that the others have theirs of. */
function concerned(
  { pods, trust }: ClusterAnchors,
  isOwn: (anchor: Anchor) => boolean
): PodAnchors[] {
  return pods.filter(pod => (hasCertificate(pod) ? !isOwn(pod) : trust !== 'perCluster'))
}

export function hasCertificate(pod: PodAnchors): pod is PodAnchors & SaidAnchors {
  return pod.anchorSha256 !== undefined
}

function anchorReport(
  anchor: AnchorStatus,
  authority: AuthorityStatus,
  pods: readonly (PodAnchors & SaidAnchors)[]
): AnchorReport {
  const { subject, anchorSha256, anchorKeySha256, notBefore, notAfter } = anchor
  const all = [authority, ...authority.alsoTrusted]
  const signed = pods.filter(pod => signerOf(pod, all) === anchor).length
  const trusted = pods.filter(pod => trusts(pod, anchor)).length
  const isOlder = (notBefore ?? '') <= (authority.notBefore ?? '')
  return {
    ...{ subject, anchorSha256, notAfter },
    ...(anchorKeySha256 && { anchorKeySha256 }),
    ...(notBefore && { notBefore }),
    role:
      anchorSha256 === authority.anchorSha256
        ? 'signing'
        : roleOf({ signed, isTrusted: trusted === pods.length, isOlder }),
    ...{ signed, trusted }
  }
}

/**
 * By what pods have, since the next CA may be older than the one that it replaces. Only where each of both would be safe, to
 * let it sign and to drop it, do the dates tell which is meant.
 */
function roleOf(anchor: { signed: number; isTrusted: boolean; isOlder: boolean }): AnchorRole {
  if (anchor.signed > 0) return 'former'
  if (!anchor.isTrusted) return 'next'
  return anchor.isOlder ? 'former' : 'next'
}

function nextStep(
  anchors: readonly AnchorReport[],
  pods: readonly PodAnchors[],
  settled: boolean
): NonNullable<AuthorityReport['next']> {
  const following = anchors.filter(({ role }) => role === 'next')
  const former = anchors.filter(({ role }) => role === 'former')
  const ready = settled && pods.every(hasCertificate)
  if (following.length > 0) {
    return {
      step: 'switch',
      ready: ready && following.every(({ trusted }) => trusted === pods.length)
    }
  }
  if (former.length === 0) return { step: 'none', ready: settled }
  // A pod that does not trust the CA that signs now is not helped by waiting, and is told of as a stranger.
  return { step: 'finish', ready: ready && former.every(({ signed }) => signed === 0) }
}
