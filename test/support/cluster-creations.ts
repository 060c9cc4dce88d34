/**
 * Creates pods as fast as the API server answers, as dry runs, and looks at each answer: was the pod injected? A creation
 * that fails is tried again, as KubeRay does, until it succeeds.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { enrollContainer } from '../../src/contract/pod.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from './cluster.ts'

export interface Creations {
  /** Names what follows, once everything that is under way now has had its answer; the counts start anew. */
  phase(name: string): Promise<void>
  /** Resolves when so many have been created in this phase. */
  reached(created: number): Promise<unknown>
  /** Resolves when nothing is under way; what fails now is tried again as before. */
  stop(): Promise<PhaseFigures[]>
}

export interface PhaseFigures {
  name: string
  seconds: number
  created: number
  perSecond: number
  /** Milliseconds of the creations that succeeded at once. */
  median: number
  p99: number
  slowest: number
  /** Creations whose first try failed. */
  failed: number
  /** From the first failure to the success, at the longest. */
  longestMendMs: number
  notMended: number
  /** Admitted without the init container. */
  notInjected: number
  /** Of the failures, with their number. */
  reasons: Record<string, number>
}

const mendLimitMs = 60_000
const retryMs = 100

export function startCreations(
  api: ClusterApi,
  namespace: string,
  { connections }: { connections: number }
): Creations {
  const pod = kuberayPod(namespace)
  const phases = [newPhase('start')]
  const current = () => phases.at(-1) as Phase
  let stopped = false
  const turns = Array.from({ length: connections }, () => 0)
  const loops = turns.map((_, index) => loop(index))

  async function loop(index: number): Promise<void> {
    while (!stopped) {
      await createOne()
      turns[index] = (turns[index] ?? 0) + 1
    }
  }

  /** Each answer counts in the phase in which it came. */
  async function createOne(): Promise<void> {
    const began = performance.now()
    let firstFailure: number | undefined
    for (;;) {
      try {
        const stored = await api.create<Pod>(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, pod)
        noteCreated(current(), stored, performance.now(), began, firstFailure)
        return
      } catch (error) {
        const now = performance.now()
        noteFailure(current(), error, firstFailure === undefined)
        firstFailure ??= now
        if (now - firstFailure > mendLimitMs) {
          current().notMended += 1
          return
        }
        await sleep(retryMs)
      }
    }
  }

  return {
    async phase(name) {
      const before = [...turns]
      await eventually('an answer for each', () =>
        turns.every((turn, index) => turn > (before[index] ?? 0))
      )
      current().ended = performance.now()
      phases.push(newPhase(name))
    },
    reached: created => eventually(`${created} pods`, () => current().created >= created),
    async stop() {
      current().ended = performance.now()
      stopped = true
      await Promise.all(loops)
      return phases.slice(1).map(figuresOf)
    }
  }
}

/** Says the figures of each phase, and judges them. `mayFail`: where a failure that a retry mends is right. */
export async function checkCreations(
  t: Test,
  creations: Creations,
  { mayFail }: { mayFail: readonly string[] | 'all' }
): Promise<void> {
  for (const { name, reasons, ...figures } of await creations.stop()) {
    t.comment(`${name}: ${JSON.stringify(figures)}`)
    for (const [reason, count] of Object.entries(reasons)) t.comment(`  ${count} × ${reason}`)
    const { created, notInjected, notMended, failed, perSecond } = figures
    t.ok(created > 0, `${name}: pods were created, ${perSecond} a second`)
    t.equal(notInjected, 0, `${name}: none without the init container`)
    t.equal(notMended, 0, `${name}: a retry mended each of ${failed} failures`)
    if (mayFail !== 'all' && !mayFail.includes(name)) t.equal(failed, 0, `${name}: none failed`)
  }
}

function noteCreated(
  phase: Phase,
  stored: Pod,
  now: number,
  began: number,
  firstFailure: number | undefined
): void {
  phase.created += 1
  if (stored.spec.initContainers?.[0]?.name !== enrollContainer) phase.notInjected += 1
  if (firstFailure === undefined) phase.times.push(now - began)
  else phase.longestMendMs = Math.max(phase.longestMendMs, now - firstFailure)
}

function noteFailure(phase: Phase, error: unknown, isFirst: boolean): void {
  const reason = reasonOf(error)
  phase.reasons[reason] = (phase.reasons[reason] ?? 0) + 1
  if (isFirst) phase.failed += 1
}

interface Phase
  extends Pick<
    PhaseFigures,
    'name' | 'created' | 'failed' | 'longestMendMs' | 'notMended' | 'notInjected' | 'reasons'
  > {
  began: number
  ended: number
  times: number[]
}

function newPhase(name: string): Phase {
  return {
    name,
    began: performance.now(),
    ended: 0,
    times: [],
    created: 0,
    failed: 0,
    longestMendMs: 0,
    notMended: 0,
    notInjected: 0,
    reasons: {}
  }
}

function figuresOf({ began, ended, times, ...phase }: Phase): PhaseFigures {
  const sorted = times.sort((one, other) => one - other)
  const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? 0)
  const seconds = (ended - began) / 1000
  return {
    ...phase,
    longestMendMs: Math.round(phase.longestMendMs),
    seconds: Math.round(seconds),
    perSecond: Math.round(phase.created / seconds),
    median: at(0.5),
    p99: at(0.99),
    slowest: at(1)
  }
}

/** A worker as KubeRay sent it once, about 9 KB. */
function kuberayPod(namespace: string): object {
  const review = JSON.parse(readFileSync('test/fixtures/recorded/worker.json', 'utf8'))
  const { metadata, spec } = review.request.object as Pod
  return { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, namespace }, spec }
}

/** Without what differs in every message: addresses, ports, names. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  const [, message = text] = /"message":"((?:[^"\\]|\\.)*)"/.exec(text) ?? []
  return message
    .replaceAll(/\d+\.\d+\.\d+\.\d+:\d+/g, 'ADDRESS')
    .replaceAll('\\"', '')
    .slice(0, 200)
}
