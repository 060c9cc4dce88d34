/**
 * What would be said of the pods that come of a Ray resource, by the places in the resource where it can be changed.
 *
 * Pure, and judged by the admission's own code: each foretold pod goes through the injection as the real one will.
 */
import { inject } from '../injection/inject.ts'
import type { Finding, Injection } from '../injection/outcome.ts'
import type { InjectionRequest, InjectionSettings } from '../injection/settings.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { withDefaults } from '../pod-security/defaults.ts'
import { locate } from '../pod-security/locate.ts'
import type { ForetoldPod } from '../ray/foretold.ts'
import { placeInTemplate } from '../ray/places.ts'

/** Most important first. */
export const weights = ['refused', 'violates', 'notice', 'mended'] as const
export type Weight = (typeof weights)[number]

export interface Foreseen {
  weight: Weight
  /** Of a check, a notice or a refusal. */
  id: string
  reason: string
  /** In the resource, or in words where no part of it has to do with it. */
  place: string
}

/** `leftOut`: pods that were not looked at, because there are too many of them. */
export interface Foresight {
  foreseen: Foreseen[]
  leftOut: number
}

/**
 * Containers of all pods together: some hundredths of a second, in which every other admission waits. The largest clusters
 * have some dozens; a resource of 3 MiB could have a hundred thousand.
 */
export const maximumContainers = 300

export function foresee(
  pods: readonly ForetoldPod[],
  request: InjectionRequest,
  settings: InjectionSettings
): Foresight {
  const foreseen: Foreseen[] = []
  let containers = 0
  for (const [index, foretold] of pods.entries()) {
    containers += countOf(foretold.pod)
    if (containers > maximumContainers) return { foreseen, leftOut: pods.length - index }
    const injection = inject(foretold.pod, request, settings)
    // Not spread into a call: a hostile pod has more of them than a call may have arguments.
    for (const each of saidOf(foretold, injection, request)) foreseen.push(each)
  }
  return { foreseen, leftOut: 0 }
}

function countOf({ spec: { containers, initContainers } }: Pod): number {
  return containers.length + (Array.isArray(initContainers) ? initContainers.length : 0)
}

function saidOf(
  foretold: ForetoldPod,
  injection: Injection,
  { podSecurity }: InjectionRequest
): Foreseen[] {
  const found = injection.findings.map(finding => foreseenOf(foretold, finding, injection.allowed))
  if (injection.allowed) {
    return podSecurity === 'off' ? found : found.concat(mended(foretold, injection.findings))
  }
  const { code, reason } = injection
  // Its reason is these violations, cut to the length of an event.
  if (code === 'PodSecurity') return found.filter(({ weight }) => weight === 'refused')
  return [{ weight: 'refused', id: code, reason, place: placeOf(foretold, undefined) }]
}

function foreseenOf(
  foretold: ForetoldPod,
  { kind, id, container, reason }: Finding,
  allowed: boolean
): Foreseen {
  const weight = kind !== 'violation' ? 'notice' : allowed ? 'violates' : 'refused'
  return { weight, id, reason, place: placeOf(foretold, container) }
}

/** What stands against the pod as KubeRay makes it, and not against the pod as it will be. */
function mended(foretold: ForetoldPod, findings: readonly Finding[]): Foreseen[] {
  const remaining = new Set(findings.map(keyOf))
  return locate(withDefaults(foretold.pod))
    .filter(violation => !remaining.has(keyOf(violation)))
    .map(({ id, container, reason }) => {
      return { weight: 'mended', id, reason, place: placeOf(foretold, container) }
    })
}

function keyOf({ id, container }: { id: string; container?: string }): string {
  return `${id} ${container ?? ''}`
}

function placeOf({ pod, place, role }: ForetoldPod, container: string | undefined): string {
  return placeInTemplate(pod, place, container) ?? `the ${role} that KubeRay makes`
}
