/**
 * The violations of `restricted` by the place where each has to be mended: one entry a container, and one for the pod.
 *
 * The standard's own texts name all containers in one sentence, which nobody can act on who wants to know where.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import { evaluate } from './evaluate.ts'
import type { Judge } from './judge.ts'
import { type CheckId, checksOf, newestMinor } from './standard.ts'
import { allContainers } from './walk.ts'
import { quoted } from './wording.ts'

export interface LocatedViolation {
  id: CheckId
  /** Absent where a field of the pod itself violates. */
  container?: string
  /** What was found and what to do about it. */
  reason: string
}

const judges = new Map(checksOf('restricted', newestMinor).map(({ id, judge }) => [id, judge]))

/** `only` limits the judgement to some containers and leaves the pod's own fields out. */
export function locate(pod: Pod, only?: (container: Container) => boolean): LocatedViolation[] {
  const located: LocatedViolation[] = []
  for (const { id, detail, pod: ofPod, containers } of evaluate(pod)) {
    const judge = judges.get(id)
    if (judge === undefined) continue
    if (ofPod && !only) located.push({ id, reason: judge(pod, [])?.detail ?? detail })
    if (containers.length === 0) continue
    const named = new Set(containers)
    for (const container of allContainers(pod)) {
      if (!named.has(container.name) || (only && !only(container))) continue
      located.push({ id, container: container.name, reason: reasonOf(judge, pod, container) })
    }
  }
  return located
}

/** Of the container alone, and without its name, so that equal violations of several can be said once. */
function reasonOf(judge: Judge, pod: Pod, container: Container): string {
  const detail = judge(pod, [container])?.detail ?? ''
  const subject = `container ${quoted([container.name])} `
  return ['pod and ', 'pod or ', ''].reduce(
    (text, before) => text.replaceAll(before + subject, ''),
    detail
  )
}
