/**
 * How long the certificates of a namespace live: what its administrators wrote on it, within the bounds of the settings.
 *
 * A value beyond a bound has a meaning, and is brought to it. One that is no duration has none: a guess might be far longer
 * than what was meant, so its pods wait for it to be put right, and everybody is told why.
 */
import { LRUCache } from 'lru-cache'
import { certificateLifetimeLabel } from '../../contract/pod.ts'
import type { EnrollmentOptions } from '../../enrollment/enroll.ts'
import { refuse } from '../../identity/refusal.ts'
import type { Calls } from '../../kubernetes/calls.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import { durationSeconds, durationText } from '../../settings/duration.ts'
import type { Settings } from '../../settings/load.ts'

export type Lifetimes = Pick<Settings['enrollment'], 'lifetimeSeconds' | 'namespaceLifetime'>

export type ChosenLifetime =
  /** `notice`: for people, where it is not what the label says. */
  | { seconds: number; notice?: string }
  /** For people: what is wrong with the label. */
  | { problem: string }

/** Pure. `label`: its value, if the namespace has it. */
export function chosenLifetime(label: string | undefined, lifetimes: Lifetimes): ChosenLifetime {
  const { shortestSeconds, longestSeconds } = lifetimes.namespaceLifetime
  if (label === undefined) return { seconds: lifetimes.lifetimeSeconds }
  const asked = durationSeconds(label)
  const shown = `The namespace has the label ${certificateLifetimeLabel}=${label.slice(0, 63)}`
  if (asked === undefined) {
    const problem =
      `${shown}; expected a duration like 30d, 720h or 1d12h. Ray pods of the namespace wait for their certificates until ` +
      'an administrator corrects or removes it.'
    return { problem }
  }
  const seconds = Math.min(Math.max(asked, shortestSeconds), longestSeconds)
  if (seconds === asked) return { seconds }
  const bounds = `${durationText(shortestSeconds)} to ${durationText(longestSeconds)}`
  return {
    seconds,
    notice:
      `${shown}; this installation allows ${bounds} (enrollment.namespaceLifetime), so that certificates live for ` +
      `${durationText(seconds)}.`
  }
}

/** What is to be said of the label, if anything. */
export function lifetimeNotice(
  labels: Readonly<Record<string, string>> | undefined,
  lifetimes: Lifetimes
): string | undefined {
  const chosen = chosenLifetime(labels?.[certificateLifetimeLabel], lifetimes)
  return 'problem' in chosen ? chosen.problem : chosen.notice
}

/** For how long a label is not read again: a burst of pods asks once, and people who correct it do not wait. */
const rememberedMs = 5_000

/** Reads the label when a pod asks. Where the API does not answer, that is a refusal; whatever else is thrown is a fault. */
export function createLifetimes(options: {
  calls: Pick<Calls, 'namespace'>
  lifetimes: Lifetimes
  /** Milliseconds that never go back. */
  clock: () => number
}): EnrollmentOptions['lifetimeOf'] {
  const { calls, lifetimes, clock } = options
  const labels = new LRUCache<string, { value: string | undefined }>({
    max: 1_000,
    ttl: rememberedMs,
    perf: { now: clock },
    async fetchMethod(name) {
      const found = (await calls.namespace(name))?.metadata.labels ?? {}
      return {
        value: Object.hasOwn(found, certificateLifetimeLabel)
          ? found[certificateLifetimeLabel]
          : undefined
      }
    }
  })
  return async namespace => {
    try {
      const chosen = chosenLifetime((await labels.fetch(namespace))?.value, lifetimes)
      if ('problem' in chosen) return refuse('LifetimeLabel', chosen.problem)
      return { allowed: true, ...chosen }
    } catch (error) {
      if (error instanceof KubernetesError)
        return refuse('ApiUnavailable', `${error.code}: ${error.message}`)
      throw error
    }
  }
}
