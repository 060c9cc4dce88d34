/**
 * What is in effect for a container: its own field, else the pod's.
 *
 * https://kubernetes.io/docs/tasks/configure-pod-container/security-context/ : container before pod before image.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'

/** The one capability that `restricted` lets a container add; the comparison is exact, as upstream. */
export const addableCapability = 'NET_BIND_SERVICE'

export function effectiveUser(pod: Pod, container: Container): number | undefined {
  return container.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser ?? undefined
}

export function effectiveNonRoot(pod: Pod, container: Container): boolean | undefined {
  return (
    container.securityContext?.runAsNonRoot ?? pod.spec.securityContext?.runAsNonRoot ?? undefined
  )
}

export function effectiveSeccomp(pod: Pod, container: Container): string | undefined {
  return (
    container.securityContext?.seccompProfile?.type ??
    pod.spec.securityContext?.seccompProfile?.type ??
    undefined
  )
}

export function effectiveAppArmor(pod: Pod, container: Container): string | undefined {
  return (
    container.securityContext?.appArmorProfile?.type ??
    pod.spec.securityContext?.appArmorProfile?.type ??
    undefined
  )
}

/** Of a seccomp or AppArmor profile. */
export function isAllowedProfile(type: string | null | undefined): boolean {
  return type === 'RuntimeDefault' || type === 'Localhost'
}

export function forbiddenCapabilities(container: Container): string[] {
  const added = container.securityContext?.capabilities?.add
  return added ? added.filter(capability => capability !== addableCapability) : []
}

/** `spec.os` alone counts, for the API server and for Pod Security: a nodeSelector does not make a Windows pod. */
export function isWindows(pod: Pod): boolean {
  return pod.spec.os?.name === 'windows'
}

export function selectsWindowsNodes(pod: Pod): boolean {
  const selector = pod.spec.nodeSelector
  return Boolean(
    selector &&
      Object.hasOwn(selector, 'kubernetes.io/os') &&
      selector['kubernetes.io/os'] === 'windows'
  )
}

/** Only an explicit `false` makes a user namespace. */
export function inUserNamespace(pod: Pod): boolean {
  return pod.spec.hostUsers === false
}

/** Pod Security judges such a pod as a Linux pod and its kubelet does not; only its author can say which it is. */
export function isWindowsByNodesAlone(pod: Pod): boolean {
  return !pod.spec.os?.name && selectsWindowsNodes(pod)
}
