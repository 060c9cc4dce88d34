/**
 * What a user has written in a Ray resource, read field by field: it may be anything.
 *
 * Decides what is malformed, and says where; what can be read is copied as it is.
 */
import type { PodSpec } from '../kubernetes/objects.ts'

export type Members = Record<string, unknown>

/** What stands in a resource is not what KubeRay takes; the message says where, what was expected and what was found. */
export class MalformedResource extends Error {
  readonly code = 'MalformedResource'

  constructor(place: string, expected: string, found: unknown) {
    super(`${place} must be ${expected}, found ${shown(found)}`)
    this.name = 'MalformedResource'
  }
}

/** A copy of a group's template whose first container can be read; the rest is judged as part of the pod. */
export function templateOf(group: Members, at: string): { metadata: Members; spec: PodSpec } {
  const template = objectAt(group.template, `${at}.template`)
  const place = `${at}.template.spec`
  const { containers } = objectAt(template.spec, place)
  if (!Array.isArray(containers) || containers.length === 0)
    throw new MalformedResource(`${place}.containers`, 'a list with the Ray container', containers)
  for (const [index, container] of containers.entries()) {
    if (!isObject(container) || typeof container.name !== 'string') {
      const what = 'a container with a name'
      throw new MalformedResource(`${place}.containers[${index}]`, what, container)
    }
  }
  const { metadata, spec } = structuredClone(template) as { metadata?: unknown; spec: PodSpec }
  return { metadata: isObject(metadata) ? metadata : {}, spec }
}

export function objectAt(value: unknown, place: string): Members {
  if (isObject(value)) return value
  throw new MalformedResource(place, 'an object', value)
}

/** What is no list stays as it is: the judge of the pod says so. */
export function appended<T>(list: T[] | null | undefined, ...more: T[]): T[] {
  if (list === undefined || list === null) return more
  return Array.isArray(list) ? [...list, ...more] : list
}

export function present<T extends object>(
  fields: T
): Partial<{ [K in keyof T]: NonNullable<T[K]> }> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)
  ) as Partial<{ [K in keyof T]: NonNullable<T[K]> }>
}

export function member(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}

export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value))
    return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  return typeof value === 'string'
    ? JSON.stringify(value.slice(0, 60))
    : isObject(value)
      ? 'an object'
      : String(value)
}
