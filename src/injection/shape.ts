/**
 * Looks whether a pod has the shape that the rest of this room relies on.
 *
 * The API server has decoded what it sends; a dry run gets what people write. Only members that are read are looked at, to a
 * fixed depth, so that nothing nested can exhaust the stack.
 */
import type { Pod } from '../kubernetes/objects.ts'
import { type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'
import { containerSecurityProblem, specSecurityProblem } from './security-shape.ts'

/** More than any pod that a node could run, and few enough that a patch stays small. */
export const maximumContainers = 500

const listNames = ['initContainers', 'containers', 'ephemeralContainers']

type Members = Record<string, unknown>
type Problem = { path: string; expected: string } | undefined

export function refuseOddShape(pod: unknown): Refusal | undefined {
  const problem = podProblem(pod)
  if (problem === undefined) return undefined
  return refuse('PodMalformed', `${problem.path} must be ${problem.expected}.`)
}

/** Apart from the shape, because a pod that is none of Ray's is never refused for its size. */
export function refuseTooLarge(pod: Pod): Refusal | undefined {
  const { initContainers, containers, ephemeralContainers } = pod.spec
  const count =
    (initContainers?.length ?? 0) + containers.length + (ephemeralContainers?.length ?? 0)
  if (count <= maximumContainers) return undefined
  return refuse(
    'PodTooLarge',
    `The pod has ${count} containers; at most ${maximumContainers} are looked at.`
  )
}

function podProblem(pod: unknown): Problem {
  if (!isObject(pod)) return { path: 'The pod', expected: 'an object' }
  if (!isObject(pod.metadata)) return { path: 'metadata', expected: 'an object' }
  return (
    textMapProblem(pod.metadata.labels, 'metadata.labels') ??
    textMapProblem(pod.metadata.annotations, 'metadata.annotations') ??
    itemsProblem(pod.metadata.ownerReferences, 'metadata.ownerReferences', undefined, false) ??
    specProblem(pod.spec)
  )
}

function specProblem(spec: unknown): Problem {
  if (!isObject(spec)) return { path: 'spec', expected: 'an object' }
  if (!Array.isArray(spec.containers) || spec.containers.length === 0) {
    return { path: 'spec.containers', expected: 'a list of at least one container' }
  }
  const names = new Set<string>()
  for (const list of listNames) {
    const problem = itemsProblem(spec[list], `spec.${list}`, (container, path) => {
      if (names.has(container.name as string)) {
        return {
          path: `${path}.name`,
          expected: `unlike the other ones; ${quote(container.name as string)} is there twice`
        }
      }
      names.add(container.name as string)
      return containerProblem(container, path)
    })
    if (problem) return problem
  }
  return (
    specSecurityProblem(spec, 'spec') ??
    itemsProblem(spec.volumes, 'spec.volumes', volumeProblem) ??
    itemsProblem(spec.imagePullSecrets, 'spec.imagePullSecrets', undefined, false) ??
    listProblem(
      member(spec.securityContext, 'supplementalGroups'),
      'spec.securityContext.supplementalGroups',
      'number'
    ) ??
    textMapProblem(spec.nodeSelector, 'spec.nodeSelector')
  )
}

function containerProblem(container: Members, path: string): Problem {
  return (
    itemsProblem(container.env, `${path}.env`, variableProblem) ??
    itemsProblem(container.volumeMounts, `${path}.volumeMounts`, mountProblem) ??
    textProblem(container.image, `${path}.image`) ??
    listProblem(container.command, `${path}.command`, 'string') ??
    hookProblem(container.lifecycle, `${path}.lifecycle`) ??
    listProblem(container.args, `${path}.args`, 'string') ??
    resourcesProblem(container.resources, `${path}.resources`) ??
    containerSecurityProblem(container, path) ??
    capabilitiesProblem(
      member(container.securityContext, 'capabilities'),
      `${path}.securityContext.capabilities`
    )
  )
}

function textProblem(value: unknown, path: string): Problem {
  return isAbsent(value) || typeof value === 'string' ? undefined : { path, expected: 'a string' }
}

function hookProblem(lifecycle: unknown, path: string): Problem {
  for (const hook of ['postStart', 'preStop']) {
    const command = member(member(member(lifecycle, hook), 'exec'), 'command')
    const problem = listProblem(command, `${path}.${hook}.exec.command`, 'string')
    if (problem) return problem
  }
  return undefined
}

function variableProblem(variable: Members, path: string): Problem {
  if (!isAbsent(variable.value) && typeof variable.value !== 'string') {
    return { path: `${path}.value`, expected: 'a string' }
  }
  return (
    objectProblem(variable.valueFrom, `${path}.valueFrom`) ??
    objectProblem(member(variable.valueFrom, 'fieldRef'), `${path}.valueFrom.fieldRef`)
  )
}

function mountProblem(mount: Members, path: string): Problem {
  return typeof mount.mountPath === 'string'
    ? undefined
    : { path: `${path}.mountPath`, expected: 'a string' }
}

function volumeProblem(volume: Members, path: string): Problem {
  return (
    objectProblem(volume.emptyDir, `${path}.emptyDir`) ??
    objectProblem(volume.secret, `${path}.secret`) ??
    objectProblem(volume.projected, `${path}.projected`) ??
    itemsProblem(member(volume.projected, 'sources'), `${path}.projected.sources`, undefined, false)
  )
}

function resourcesProblem(resources: unknown, path: string): Problem {
  return (
    objectProblem(resources, path) ??
    objectProblem(member(resources, 'requests'), `${path}.requests`) ??
    objectProblem(member(resources, 'limits'), `${path}.limits`)
  )
}

function capabilitiesProblem(capabilities: unknown, path: string): Problem {
  return (
    objectProblem(capabilities, path) ??
    listProblem(member(capabilities, 'add'), `${path}.add`, 'string') ??
    listProblem(member(capabilities, 'drop'), `${path}.drop`, 'string')
  )
}

function itemsProblem(
  items: unknown,
  path: string,
  problemOf: ((item: Members, path: string) => Problem) | undefined,
  named = true
): Problem {
  if (isAbsent(items)) return undefined
  if (!Array.isArray(items)) return { path, expected: 'a list' }
  for (let index = 0; index < items.length; index += 1) {
    const item: unknown = items[index]
    const at = `${path}[${index}]`
    if (!isObject(item)) return { path: at, expected: 'an object' }
    if (named && typeof item.name !== 'string') return { path: `${at}.name`, expected: 'a string' }
    const problem = problemOf?.(item, at)
    if (problem) return problem
  }
  return undefined
}

function listProblem(items: unknown, path: string, type: 'string' | 'number'): Problem {
  if (isAbsent(items)) return undefined
  if (Array.isArray(items) && items.every(item => typeof item === type)) return undefined
  return { path, expected: `a list of ${type}s` }
}

function textMapProblem(map: unknown, path: string): Problem {
  if (isAbsent(map)) return undefined
  if (!isObject(map)) return { path, expected: 'an object' }
  for (const key of Object.keys(map)) {
    if (typeof map[key] !== 'string')
      return { path: `${path}[${quote(key)}]`, expected: 'a string' }
  }
  return undefined
}

function objectProblem(value: unknown, path: string): Problem {
  return isAbsent(value) || isObject(value) ? undefined : { path, expected: 'an object' }
}

function member(value: unknown, key: string): unknown {
  return isObject(value) ? value[key] : undefined
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
