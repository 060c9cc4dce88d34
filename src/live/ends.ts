/**
 * When the certificate of a running pod ends, and whether that is near.
 *
 * Pure. What a pod holds is known from its agent's last words, which whoever may write its status can forge: they are good
 * for telling people, and for what harms nobody but the pod itself.
 */
import type { LivePod } from './pod.ts'

/** Days before its end at which a certificate is talked about; 0: it has ended. */
export const nearDays = [0, 1, 7, 14] as const
export type NearDays = (typeof nearDays)[number]

export type DatedPod = Pick<LivePod, 'live' | 'createdAt' | 'agent'>

const dayMs = 86_400_000

/** Milliseconds since the epoch; undefined where a pod does not live, holds no certificate, or says what cannot be. */
export function certificateEnd({ live, agent, createdAt }: DatedPod): number | undefined {
  if (!live || agent?.ended !== 'well') return undefined
  const end = Date.parse(agent.notAfter)
  return end > createdAt ? end : undefined
}

/** The least of {@link nearDays} that it is within. Of a short life no more than its last quarter counts as near. */
export function nearness(pod: DatedPod, now: number): NearDays | undefined {
  return nearDays.find(days => (nearSince(pod, days) ?? Number.POSITIVE_INFINITY) <= now)
}

/** Since when it is within so many days of its end; milliseconds since the epoch. */
export function nearSince(pod: DatedPod, days: NearDays): number | undefined {
  const end = certificateEnd(pod)
  if (end === undefined) return undefined
  const quarter = (end - pod.createdAt) / 4
  return end - Math.min(days * dayMs, quarter)
}
