/**
 * Replaces pods before their certificates end, one after the other: what the plan says, carried out with care.
 *
 * An eviction is written into the Lease before it is asked for, so that no other replica can do the same, and the pod and
 * its namespace are read from the API first: a copy from a watch is good for a plan, not for taking somebody's pod away.
 */
import { LRUCache } from 'lru-cache'
import type { Calls } from '../kubernetes/calls.ts'
import type { Client } from '../kubernetes/client.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { certificateEnd } from '../live/ends.ts'
import { type LivePod, livePod } from '../live/pod.ts'
import { type EvictionResult, evict } from './evict.ts'
import type { Lease } from './lease.ts'
import { noteText, readNote } from './note.ts'
import {
  type Eviction,
  isDue,
  nextStep,
  patienceMs,
  type ReplacementRules,
  type Step
} from './plan.ts'

export interface ReplacementOptions {
  client: Client
  calls: Pick<Calls, 'pod'>
  lease: Lease
  /** All Ray pods, from a watch. */
  pods(): Iterable<LivePod>
  rules: ReplacementRules
  /** Why a pod of a namespace would not get a certificate again if it were made anew now. Reads the API. */
  objection(namespace: string): Promise<string | undefined>
  /** Milliseconds since the epoch, as the API server counts them. */
  clock: () => number
  onResult(pod: LivePod, result: EvictionResult | 'objection', reason?: string): void
}

export interface Replacement {
  /** One look, and at most one eviction. */
  tick(): Promise<Step['step'] | 'standby'>
  /** Since when the cluster of the last eviction has not recovered; undefined where it has, or another replica acts. */
  recoveringSince(): number | undefined
}

/** A budget may allow it soon; a missing right, or a paused namespace, is for people and takes longer. */
const putOffMs: Record<Exclude<EvictionResult, 'evicted'> | 'objection', number> = {
  blocked: 20_000,
  changed: 10_000,
  forbidden: 600_000,
  objection: 60_000
}

/** Beyond the time in which the eviction may still come true. */
const unansweredMs = 60_000

export function createReplacement(options: ReplacementOptions): Replacement {
  const { client, calls, lease, rules, clock, onResult } = options
  const putOff = new LRUCache<string, number>({ max: 50_000 })
  const turns = new LRUCache<string, number>({ max: 10_000 })
  const ends = new LRUCache<string, { end: number; at: number }>({ max: 10_000 })
  let gone: { pod: string; since: number } | undefined
  let recoveringSince: number | undefined

  return { tick, recoveringSince: () => recoveringSince }

  async function tick(): Promise<Step['step'] | 'standby'> {
    recoveringSince = undefined
    if (!(await lease.keep())) return 'standby'
    const now = clock()
    const last = readNote(lease.note())
    const pods = [...options.pods()]
    const goneSince = last && whenGone(last, pods, now)
    const waiting = new Set([...putOff].filter(([, until]) => until > now).map(([uid]) => uid))
    const isGone = last !== undefined && (await isGoneUnseen(last, pods, now))
    const situation = { pods, now, last, goneSince, isGone, putOff: waiting, turns, ends }
    const step = nextStep(situation, rules)
    if (step.step === 'wait' && step.until === 'recovery') recoveringSince = last?.at
    if (step.step === 'evict') await carryOut(step.pod, step.eviction, lease.note())
    return step.step
  }

  /** A replica that has just taken over counts from its own first look. */
  function whenGone(last: Eviction, pods: readonly LivePod[], now: number): number | undefined {
    if (pods.some(({ uid }) => uid === last.pod)) gone = undefined
    else if (gone?.pod !== last.pod) gone = { pod: last.pod, since: now }
    return gone?.since
  }

  /** A watch that has died shows a pod for minutes as it was, also to a replica that takes over. */
  async function isGoneUnseen(
    last: Eviction,
    pods: readonly LivePod[],
    now: number
  ): Promise<boolean> {
    const shown = pods.find(({ uid, live }) => live && uid === last.pod)
    if (shown === undefined || now - last.at < rules.intervalMs) return false
    if (now - last.at > patienceMs) return false
    const fresh = await calls.pod(shown.namespace, shown.name)
    const found = fresh && livePod(fresh)
    return found?.uid !== last.pod || !found.live
  }

  async function carryOut(
    pod: LivePod,
    eviction: Eviction,
    formerNote: string | undefined
  ): Promise<void> {
    const objection = await options.objection(pod.namespace)
    if (objection !== undefined) return settled(pod, 'objection', clock(), objection)
    const fresh = await calls.pod(pod.namespace, pod.name)
    const found = fresh && livePod(fresh)
    if (!fresh || found?.uid !== pod.uid || !isDue(found, clock(), rules))
      return settled(pod, 'changed', clock())
    // Whoever has lost the Lease fails here, before anything has happened.
    if (!(await lease.write(noteText(eviction)))) return
    const result = await evicted(pod, fresh)
    const end = certificateEnd(found)
    if (result !== 'evicted') await lease.write(formerNote)
    else if (end !== undefined) ends.set(pod.namespace, { end, at: eviction.at })
    settled(pod, result, result === 'evicted' ? eviction.at : clock())
  }

  /** What came of an eviction without an answer is not known; whatever it is, others are not kept waiting by it. */
  async function evicted(pod: LivePod, fresh: Pod): Promise<EvictionResult> {
    try {
      return await evict(client, fresh)
    } catch (error) {
      turns.set(pod.namespace, clock())
      putOff.set(pod.uid, clock() + rules.intervalMs + unansweredMs)
      throw error
    }
  }

  function settled(
    pod: LivePod,
    result: EvictionResult | 'objection',
    at: number,
    reason?: string
  ): void {
    turns.set(pod.namespace, at)
    if (result !== 'evicted') putOff.set(pod.uid, at + putOffMs[result])
    onResult(pod, result, reason)
  }
}
