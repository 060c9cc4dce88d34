/**
 * The four fields that an ordinary Ray pod lacks for `restricted`, as a list of what to set.
 *
 * Sets only what is absent, and appends `ALL` to an existing `drop`. Never overwrites or removes what somebody wrote: what
 * stands against the standard is reported by evaluate.ts and left to its author.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import {
  effectiveNonRoot,
  effectiveSeccomp,
  effectiveUser,
  forbiddenCapabilities,
  isWindows,
  selectsWindowsNodes
} from './effective.ts'
import { type ContainerList, eachContainer } from './walk.ts'

export interface Setting {
  /** Members from the pod down; parents that are absent have to be made. */
  path: (string | number)[]
  value: unknown
  /** Add the value to the end of the list at the path. */
  append?: true
}

const runtimeDefault = { type: 'RuntimeDefault' }

export function tighten(pod: Pod): Setting[] {
  if (isWindowsByNodeSelectorAlone(pod)) return []
  const settings = [...podRunAsNonRoot(pod)]
  // The API server refuses every other one of the four fields on a Windows pod.
  if (isWindows(pod)) return settings
  settings.push(...podSeccomp(pod))
  eachContainer(pod, (container, list, index) => {
    settings.push(...containerFields(pod, container, ['spec', list, index]))
  })
  return settings
}

/**
 * The same for ephemeral containers that are added to a running pod, whose own fields cannot change: all four are set on the
 * container, where the pod has no good value.
 */
export function tightenEphemeral(pod: Pod, isNew: (container: Container) => boolean): Setting[] {
  if (isWindowsByNodeSelectorAlone(pod)) return []
  return (pod.spec.ephemeralContainers ?? []).flatMap((container, index) => {
    if (!isNew(container)) return []
    const list: ContainerList = 'ephemeralContainers'
    const path = ['spec', list, index]
    const settings: Setting[] = []
    if (effectiveNonRoot(pod, container) === undefined && effectiveUser(pod, container) !== 0) {
      settings.push({ path: [...path, 'securityContext', 'runAsNonRoot'], value: true })
    }
    if (isWindows(pod)) return settings
    if (effectiveSeccomp(pod, container) === undefined) {
      settings.push({ path: [...path, 'securityContext', 'seccompProfile'], value: runtimeDefault })
    }
    return [...settings, ...containerFields(pod, container, path)]
  })
}

/** Pod Security judges such a pod as a Linux pod and its kubelet does not; only its author can say which it is. */
function isWindowsByNodeSelectorAlone(pod: Pod): boolean {
  return !pod.spec.os?.name && selectsWindowsNodes(pod)
}

/** At pod level, unless a container asks for root: then on each of the others. */
function podRunAsNonRoot(pod: Pod): Setting[] {
  const present = pod.spec.securityContext?.runAsNonRoot
  // In a user namespace root is allowed (policy 1.35 and later), and an image may need it.
  if ((present !== undefined && present !== null) || pod.spec.hostUsers === false) return []
  const without: Setting[] = []
  let root = false
  eachContainer(pod, (container, list, index) => {
    if (effectiveUser(pod, container) === 0) root = true
    else if (effectiveNonRoot(pod, container) === undefined) {
      without.push({ path: ['spec', list, index, 'securityContext', 'runAsNonRoot'], value: true })
    }
  })
  if (root || without.length === 0) return without
  return [{ path: ['spec', 'securityContext', 'runAsNonRoot'], value: true }]
}

function podSeccomp(pod: Pod): Setting[] {
  if (pod.spec.securityContext?.seccompProfile) return []
  let lacking = false
  eachContainer(pod, container => {
    if (!container.securityContext?.seccompProfile) lacking = true
  })
  if (!lacking) return []
  return [{ path: ['spec', 'securityContext', 'seccompProfile'], value: runtimeDefault }]
}

/** The two fields that exist on containers only. */
function containerFields(pod: Pod, container: Container, path: (string | number)[]): Setting[] {
  if (asksForMore(pod, container)) return []
  const settings: Setting[] = []
  const context = container.securityContext
  if (
    context?.allowPrivilegeEscalation === undefined ||
    context.allowPrivilegeEscalation === null
  ) {
    settings.push({ path: [...path, 'securityContext', 'allowPrivilegeEscalation'], value: false })
  }
  if (!context?.capabilities?.drop?.includes('ALL')) {
    settings.push({
      path: [...path, 'securityContext', 'capabilities', 'drop'],
      value: 'ALL',
      append: true
    })
  }
  return settings
}

/**
 * True for a container that explicitly asks for something that `restricted` never allows. Tightening it would not make it
 * comply and could break it; and `allowPrivilegeEscalation: false` beside `privileged` or SYS_ADMIN is refused by the API
 * server (https://github.com/kubernetes/kubernetes/issues/119568).
 */
function asksForMore(pod: Pod, container: Container): boolean {
  const context = container.securityContext
  const user = effectiveUser(pod, container)
  return (
    context?.privileged === true ||
    context?.allowPrivilegeEscalation === true ||
    forbiddenCapabilities(container).length > 0 ||
    effectiveSeccomp(pod, container) === 'Unconfined' ||
    user === 0 ||
    (user === undefined && effectiveNonRoot(pod, container) === false)
  )
}
