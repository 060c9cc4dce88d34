/**
 * Which pod is to be replaced next, before its certificate ends, or why none is.
 *
 * Decides the order, the pace and the caution; never evicts anything and never looks at a clock. One pod at a time in the
 * whole of Kubernetes: the next one waits until the cluster of the last one has recovered. PURE.
 */
import { certificateEnd } from '../live/ends.ts'
import type { LivePod } from '../live/pod.ts'

export interface ReplacementRules {
  /** How long before the end of its certificate a pod is due; at most half of the certificate's life. */
  aheadMs: number
  /** Heads, too, after the workers of their cluster. */
  heads: boolean
  /** The shortest time between two evictions. */
  intervalMs: number
}

/** What was evicted last, by whichever replica. Times in milliseconds since the epoch. */
export interface Eviction {
  namespace: string
  /** UID of the RayCluster. */
  cluster: string
  /** UID. */
  pod: string
  at: number
  /** Since when pods of this cluster are replaced one after the other. */
  since: number
}

export interface Situation {
  pods: readonly LivePod[]
  now: number
  last?: Eviction | undefined
  /** Since when the pod that was evicted last is seen no more. */
  goneSince?: number | undefined
  /** The pod that was evicted last is shown alive, and is not so any more by the API server's word. */
  isGone?: boolean
  /** UIDs of pods that could not be evicted a moment ago. */
  putOff: ReadonlySet<string>
  /** When a pod of a namespace was evicted or could not be, as far as that is remembered. */
  turns: Pick<ReadonlyMap<string, number>, 'get'>
  /** Of the pod of a namespace that was evicted last, as far as that is remembered: the end of its certificate, and when. */
  ends: Pick<ReadonlyMap<string, { end: number; at: number }>, 'get'>
}

export type Step =
  | { step: 'evict'; pod: LivePod; eviction: Eviction }
  /** `interval`: the last eviction is too fresh. `recovery`: its cluster is not whole again. */
  | { step: 'wait'; until: 'interval' | 'recovery' }
  | { step: 'rest' }

/** For a replacement to become ready; then the others go on, or one cluster that cannot recover would hold up all. */
export const patienceMs = 15 * 60_000
/** KubeRay makes the new pod when it has seen the end of the former one. */
const settleMs = 10_000
/** A watch lags by less, while it is well. A pod that lives on after that was not evicted: who meant to did not come to it. */
const lagMs = 30_000
/** An end that a new certificate does not move is tried anew after that: the CA may have been renewed. */
const triedMs = 24 * 60 * 60_000
const hourMs = 60 * 60_000
/** Ends of certificates that the CA cuts short are alike to seconds. */
const alikeMs = 10 * 60_000
/** Then other namespaces have their turn, or one of them could keep all others waiting until their certificates end. */
const turnMs = 60 * 60_000

export function nextStep(situation: Situation, rules: ReplacementRules): Step {
  const { last, now } = situation
  if (last && now - last.at < rules.intervalMs) return { step: 'wait', until: 'interval' }
  if (last && isRecovering(last, situation)) return { step: 'wait', until: 'recovery' }
  const all = candidates(situation, rules)
  const isDoubtful = last !== undefined && isUncertified(last, situation)
  const [pod] = all
    .filter(each => !isDoubtful || isUrgent(each, now, rules))
    .sort(inOrder(situation))
  if (pod === undefined)
    return all.length > 0 ? { step: 'wait', until: 'recovery' } : { step: 'rest' }
  const goesOn = last !== undefined && isInTurn(last, pod, situation)
  const { namespace, cluster, uid } = pod
  const eviction = { namespace, cluster: cluster.uid, pod: uid, at: now }
  return { step: 'evict', pod, eviction: { ...eviction, since: goesOn ? last.since : now } }
}

/** Whether its time has come, whoever else is to be considered. */
export function isDue(pod: LivePod, now: number, { aheadMs }: ReplacementRules): boolean {
  const span = dueSpan(pod, aheadMs)
  return span !== undefined && now >= span.end - span.lead
}

function isRecovering(last: Eviction, { pods, now, goneSince, isGone }: Situation): boolean {
  if (now - last.at > patienceMs) return false
  const evicted = pods.find(({ uid }) => uid === last.pod)
  if (evicted) return !evicted.live || isGone === true || now - last.at < lagMs
  if (goneSince === undefined || now - goneSince < settleMs) return true
  return pods.some(
    pod => isOf(last, pod) && pod.live && !pod.ready && pod.createdAt >= wholeSecond(last.at)
  )
}

/**
 * Whether what was made in the place of the last one asks for a certificate in vain, and nobody else got one since: then those
 * that can wait do, because a CA that is away would take one worker after the other. Attack: a pod that its namespace keeps
 * from enrolling holds up others no longer than that.
 */
function isUncertified(last: Eviction, { pods }: Situation): boolean {
  const since = pods.filter(
    ({ tls, createdAt }) => tls === 'rayguard' && createdAt >= wholeSecond(last.at)
  )
  const asksInVain = ({ enrolling, agent }: LivePod) => enrolling || agent?.ended === 'badly'
  const isWithout = (pod: LivePod) => pod.live && asksInVain(pod) && isOf(last, pod)
  return since.some(isWithout) && !since.some(({ agent }) => agent?.ended === 'well')
}

/**
 * Whether a certificate that was made later, within a day, ends when that of this pod does: both end with the CA, and
 * another pod would win nothing. By pods of its own namespace alone, since who can write their status can forge it.
 */
function endsWithCa({ pods, now, ends }: Situation): (pod: LivePod) => boolean {
  const key = (namespace: string, end: number) => `${namespace}/${Math.round(end / alikeMs)}`
  const latest = new Map<string, number>()
  for (const pod of pods) {
    const end = certificateEnd(pod)
    if (pod.tls !== 'rayguard' || end === undefined || now - pod.createdAt >= triedMs) continue
    for (const alike of [end - alikeMs, end, end + alikeMs]) {
      const name = key(pod.namespace, alike)
      latest.set(name, Math.max(latest.get(name) ?? 0, pod.createdAt))
    }
  }
  return pod => {
    const end = certificateEnd(pod)
    const later = end === undefined ? undefined : latest.get(key(pod.namespace, end))
    if (end === undefined || later === undefined) return false
    const evicted = ends.get(pod.namespace)
    const isOfEvicted = evicted !== undefined && Math.abs(evicted.end - end) < alikeMs
    return later - pod.createdAt >= hourMs || (isOfEvicted && later >= wholeSecond(evicted.at))
  }
}

/** All that may be evicted now: workers before the head of their cluster, and none where that would do harm. */
function candidates(situation: Situation, rules: ReplacementRules): LivePod[] {
  const { pods, now, putOff } = situation
  const winsNothing = endsWithCa(situation)
  const due = pods.filter(pod => isDue(pod, now, rules) && !winsNothing(pod))
  const busy = new Set(due.filter(({ node }) => node === 'worker').map(keyOf))
  const headed = new Set(pods.filter(pod => pod.node === 'head' && isWell(pod)).map(keyOf))
  const shaken = new Set(pods.filter(pod => !isWell(pod)).map(keyOf))
  return due.filter(pod => {
    const key = keyOf(pod)
    if (putOff.has(pod.uid) || !headed.has(key)) return false
    if (pod.node === 'head' && (!rules.heads || busy.has(key))) return false
    return !shaken.has(key) || isUrgent(pod, now, rules)
  })
}

/**
 * A cluster that is not whole is left alone while there is time: whatever ails it, another pod less makes it worse. In the
 * second half of that time a pod that keeps its certificate to the end would be worse still.
 */
function isUrgent(pod: LivePod, now: number, { aheadMs }: ReplacementRules): boolean {
  const span = dueSpan(pod, aheadMs)
  return span !== undefined && now >= span.end - span.lead / 2
}

/** Undefined where a pod does not live, has no certificate of ours, or says of it what cannot be. */
function dueSpan(pod: LivePod, aheadMs: number): { end: number; lead: number } | undefined {
  const end = pod.tls === 'rayguard' ? certificateEnd(pod) : undefined
  return end === undefined ? undefined : { end, lead: Math.min(aheadMs, (end - pod.createdAt) / 2) }
}

/**
 * The turn of a cluster ends with its time, or when one of its namespace could not be evicted. Attack: many pods that a
 * budget holds would otherwise be asked for one after the other, and nobody else's.
 */
function isInTurn(last: Eviction, pod: LivePod, { now, turns }: Situation): boolean {
  const unhindered = (turns.get(pod.namespace) ?? 0) <= last.at
  return isOf(last, pod) && now - last.since < turnMs && unhindered
}

/** The cluster of the last one first, for its turn; then whose namespace has waited longest; then what ends first. */
function inOrder(situation: Situation): (one: LivePod, other: LivePod) => number {
  const { last, turns } = situation
  const goesOn = (pod: LivePod) => (last && isInTurn(last, pod, situation) ? 0 : 1)
  const turn = ({ namespace }: LivePod) => turns.get(namespace) ?? 0
  const end = (pod: LivePod) => certificateEnd(pod) ?? 0
  return (one, other) =>
    goesOn(one) - goesOn(other) ||
    turn(one) - turn(other) ||
    end(one) - end(other) ||
    (one.uid < other.uid ? -1 : 1)
}

function isWell({ live, ready }: LivePod): boolean {
  return live && ready
}

/** Attack: a pod that names the UID of another namespace's RayCluster must not speak for it. */
function keyOf({ namespace, cluster }: LivePod): string {
  return `${namespace}/${cluster.uid}`
}

function isOf({ namespace, cluster }: Eviction, pod: LivePod): boolean {
  return keyOf(pod) === `${namespace}/${cluster}`
}

/** As the API server writes the time of a creation. */
function wholeSecond(time: number): number {
  return Math.floor(time / 1000) * 1000
}
