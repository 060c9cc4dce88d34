/**
 * Judges a pod by checks of the Pod Security Standard's `restricted` level and says what violates it, and where.
 *
 * The ids are those of the upstream library, so that a message can be looked up. Evaluates the final pod, never a
 * prediction; says nothing about checks that are not in its table.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import { type CheckId, checks } from './checks.ts'
import { eachContainer } from './walk.ts'

export interface Violation {
  id: CheckId
  /** Absent where a field of the pod itself violates. */
  container?: string
  /** What was found and what to do about it. */
  reason: string
}

/** `only` limits the judgement to some containers and leaves the pod's own fields out. */
export function evaluate(pod: Pod, only?: (container: Container) => boolean): Violation[] {
  const violations: Violation[] = []
  for (const { id, pod: ofPod, container: ofContainer } of checks) {
    if (ofPod && !only) {
      for (const reason of ofPod(pod)) violations.push({ id, reason })
    }
    if (!ofContainer) continue
    eachContainer(pod, container => {
      if (only && !only(container)) return
      const reason = ofContainer(pod, container)
      if (reason !== undefined) violations.push({ id, container: container.name, reason })
    })
  }
  return violations
}
