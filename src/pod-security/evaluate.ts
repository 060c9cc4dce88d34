/**
 * Judges a pod by the Pod Security Standard and says what violates it, word for word as the upstream library does.
 *
 * Evaluates the final pod, never a prediction, and changes nothing.
 */
import type { Pod } from '../kubernetes/objects.ts'
import type { Breach } from './judge.ts'
import { type AppliedCheck, type CheckId, checksOf, newestMinor } from './standard.ts'
import { allContainers } from './walk.ts'

export interface Violation extends Breach {
  id: CheckId
}

const newestRestricted = checksOf('restricted', newestMinor)

/** One violation a check at most. Without `checks` by `restricted` in its newest version. */
export function evaluate(
  pod: Pod,
  checks: readonly AppliedCheck[] = newestRestricted
): Violation[] {
  const containers = allContainers(pod)
  const violations: Violation[] = []
  for (const { id, judge, spares } of checks) {
    if (spares?.(pod) === true) continue
    const breach = judge(pod, containers)
    if (breach !== undefined) violations.push({ id, ...breach })
  }
  return violations
}
