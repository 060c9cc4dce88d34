/**
 * What can be made safe in a pod without changing what it does, as a list of changes.
 *
 * Sets what is absent, appends `ALL` to an existing `drop`, and overwrites two kinds of values that have no effect: one of
 * the pod that every container overrides, and `runAsNonRoot: false` beside a user that is not root. Never overwrites or
 * removes anything else: what stands against the standard is reported by evaluate.ts and left to its author.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import {
  effectiveNonRoot,
  effectiveSeccomp,
  effectiveUser,
  inUserNamespace,
  isAllowedProfile,
  isWindows,
  isWindowsByNodesAlone
} from './effective.ts'
import type { Change, Path } from './tighten-change.ts'
import { tightenContainer } from './tighten-container.ts'
import { eachContainer } from './walk.ts'

const runtimeDefault = { type: 'RuntimeDefault' }

const podContext = ['spec', 'securityContext']

export function tighten(pod: Pod): Change[] {
  if (isWindowsByNodesAlone(pod)) return []
  const changes = podNonRoot(pod)
  if (!isWindows(pod)) changes.push(...podUser(pod), ...podSeccomp(pod))
  eachContainer(pod, (container, list, index) => {
    tightenContainer(changes, pod, container, ['spec', list, index])
  })
  return changes
}

/**
 * The same for ephemeral containers that are added to a running pod, whose own fields cannot change: all four are set on the
 * container, where it inherits nothing.
 */
export function tightenEphemeral(pod: Pod, isNew: (container: Container) => boolean): Change[] {
  const changes: Change[] = []
  if (isWindowsByNodesAlone(pod)) return changes
  pod.spec.ephemeralContainers?.forEach((container, index) => {
    if (!isNew(container)) return
    const path = ['spec', 'ephemeralContainers', index]
    if (lacksNonRoot(pod, container)) changes.push(nonRootOf(path))
    if (!isWindows(pod) && effectiveSeccomp(pod, container) === undefined) {
      const at = [...path, 'securityContext', 'seccompProfile']
      changes.push({ action: 'set', path: at, value: runtimeDefault })
    }
    tightenContainer(changes, pod, container, path)
  })
  return changes
}

function podNonRoot(pod: Pod): Change[] {
  const present = pod.spec.securityContext?.runAsNonRoot ?? undefined
  // In a user namespace root is allowed (policy 1.35 and later), and an image may need it.
  if (present === true || inUserNamespace(pod)) return []
  const path = [...podContext, 'runAsNonRoot']
  if (present === undefined) return missingNonRoot(pod, path)
  // The kubelet asks for the user alone where there is one, so that `false` has no effect beside it (verifyRunAsNonRoot).
  const isDead = every(pod, container => {
    return container.securityContext?.runAsNonRoot === true || isNonRootUser(pod, container)
  })
  return isDead ? [{ action: 'replace', path, value: true, found: false }] : []
}

/** At pod level, unless a container asks for root: then on each of the others. */
function missingNonRoot(pod: Pod, path: Path): Change[] {
  const without: Change[] = []
  let root = false
  eachContainer(pod, (container, list, index) => {
    if (effectiveUser(pod, container) === 0) root = true
    else if (lacksNonRoot(pod, container)) without.push(nonRootOf(['spec', list, index]))
  })
  return root || without.length === 0 ? without : [{ action: 'set', path, value: true }]
}

function lacksNonRoot(pod: Pod, container: Container): boolean {
  return (
    effectiveNonRoot(pod, container) === undefined &&
    effectiveUser(pod, container) !== 0 &&
    !inUserNamespace(pod)
  )
}

function nonRootOf(path: Path): Change {
  return { action: 'set', path: [...path, 'securityContext', 'runAsNonRoot'], value: true }
}

/** Root that no container gets, because each has a user of its own. */
function podUser(pod: Pod): Change[] {
  if (pod.spec.securityContext?.runAsUser !== 0 || inUserNamespace(pod)) return []
  if (!every(pod, container => isNonRootUser(pod, container))) return []
  return [{ action: 'remove', path: [...podContext, 'runAsUser'], found: 0 }]
}

function podSeccomp(pod: Pod): Change[] {
  const path = [...podContext, 'seccompProfile']
  const present = pod.spec.securityContext?.seccompProfile ?? undefined
  if (present === undefined) {
    const all = every(pod, ({ securityContext }) => Boolean(securityContext?.seccompProfile))
    return all ? [] : [{ action: 'set', path, value: runtimeDefault }]
  }
  if (present.type !== 'Unconfined') return []
  const isDead = every(pod, ({ securityContext }) =>
    isAllowedProfile(securityContext?.seccompProfile?.type)
  )
  return isDead ? [{ action: 'replace', path, value: runtimeDefault, found: present }] : []
}

function isNonRootUser(pod: Pod, container: Container): boolean {
  return (effectiveUser(pod, container) ?? 0) > 0
}

function every(pod: Pod, holds: (container: Container) => boolean): boolean {
  let all = true
  eachContainer(pod, container => {
    all &&= holds(container)
  })
  return all
}
