/** The last eviction as it stands in an annotation of the Lease. PURE. */
import type { Eviction } from './plan.ts'

export function noteText({ namespace, cluster, pod, at, since }: Eviction): string {
  const times = { at: new Date(at).toISOString(), since: new Date(since).toISOString() }
  return JSON.stringify({ namespace, cluster, pod, ...times })
}

/** Undefined for what is none: then nothing was evicted that one would have to wait for. */
export function readNote(text: string | undefined): Eviction | undefined {
  try {
    const { namespace, cluster, pod, ...times } = JSON.parse(text ?? '') as Record<string, unknown>
    const [at, since] = [times.at, times.since].map(time => Date.parse(String(time)))
    const texts = [namespace, cluster, pod].every(value => typeof value === 'string')
    if (!texts || !at || !since) return undefined
    return { namespace, cluster, pod, at, since } as Eviction
  } catch {
    return undefined
  }
}
