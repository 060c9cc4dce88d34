/**
 * What a check is made of: a judge, and the breach that it finds.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'

export interface Breach {
  /** The upstream library's, which does not depend on the pod's names. */
  reason: string
  /** The upstream library's: what was found, and in which containers. */
  detail: string
  /** True where a field of the pod itself, a volume or an annotation is named. */
  pod?: boolean
  /** The containers that are named. */
  containers: readonly string[]
}

/** `containers`: all of the pod, see walk.ts; handed in because every judge needs them. */
export type Judge = (pod: Pod, containers: readonly Container[]) => Breach | undefined

export function namesOf(
  containers: readonly Container[],
  breaks: (container: Container) => boolean
): string[] {
  const names: string[] = []
  for (const container of containers) {
    if (breaks(container)) names.push(container.name)
  }
  return names
}

/** A client may send `null` for what it does not set. */
export function isSet<T>(value: T): value is NonNullable<T> {
  return value !== undefined && value !== null
}
