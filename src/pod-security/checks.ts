/**
 * The checks of the Pod Security Standard that are evaluated, one entry each: what violates it in a pod's own fields and
 * what in a container.
 *
 * At the newest version of the standard: a user namespace (`hostUsers: false`) relaxes runAsNonRoot and runAsUser, and a
 * Windows pod is judged by runAsNonRoot alone of the restricted ones
 * (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import {
  effectiveNonRoot,
  effectiveSeccomp,
  effectiveUser,
  forbiddenCapabilities,
  isAllowedSeccomp,
  isWindows
} from './effective.ts'

export const checkIds = [
  'hostNamespaces',
  'hostPorts',
  'privileged',
  'allowPrivilegeEscalation',
  'capabilities_restricted',
  'restrictedVolumes',
  'runAsNonRoot',
  'runAsUser',
  'seccompProfile_restricted'
] as const
export type CheckId = (typeof checkIds)[number]

export interface Check {
  id: CheckId
  /** Reasons that lie in the pod's own fields. */
  pod?(pod: Pod): string[]
  /** The reason that lies in this container, if any. */
  container?(pod: Pod, container: Container): string | undefined
}

/** Baseline first, then restricted, each sorted by id, as the upstream library reports them. */
export const checks: readonly Check[] = [
  { id: 'hostNamespaces', pod: hostNamespaces },
  { id: 'hostPorts', container: hostPorts },
  { id: 'privileged', container: privileged },
  { id: 'allowPrivilegeEscalation', container: allowPrivilegeEscalation },
  { id: 'capabilities_restricted', container: capabilities },
  { id: 'restrictedVolumes', pod: restrictedVolumes },
  { id: 'runAsNonRoot', pod: podRunAsNonRoot, container: runAsNonRoot },
  { id: 'runAsUser', pod: podRunAsUser, container: runAsUser },
  { id: 'seccompProfile_restricted', pod: podSeccomp, container: seccomp }
]

function hostNamespaces(pod: Pod): string[] {
  const shared = (['hostNetwork', 'hostPID', 'hostIPC'] as const).filter(field => pod.spec[field])
  if (shared.length === 0) return []
  return [`the pod sets ${shared.map(field => `${field}=true`).join(', ')}; remove it`]
}

function hostPorts(_pod: Pod, container: Container): string | undefined {
  const ports = container.ports?.filter(({ hostPort }) => hostPort)
  if (!ports?.length) return undefined
  return `uses hostPort ${ports.map(({ hostPort }) => hostPort).join(', ')}; use a Service`
}

function privileged(_pod: Pod, container: Container): string | undefined {
  if (container.securityContext?.privileged !== true) return undefined
  return 'is privileged; GPUs and RDMA come through resources of a device plugin instead'
}

function allowPrivilegeEscalation(pod: Pod, container: Container): string | undefined {
  if (isWindows(pod)) return undefined
  const value = container.securityContext?.allowPrivilegeEscalation ?? undefined
  if (value === false) return undefined
  if (value === undefined) return 'does not set allowPrivilegeEscalation=false'
  return 'sets allowPrivilegeEscalation=true; programs for sudo belong into the image'
}

function capabilities(pod: Pod, container: Container): string | undefined {
  if (isWindows(pod)) return undefined
  const added = forbiddenCapabilities(container)
  if (added.length > 0) {
    return `adds the capabilities ${added.slice(0, 5).join(', ')}; only NET_BIND_SERVICE may be added`
  }
  if (container.securityContext?.capabilities?.drop?.includes('ALL')) return undefined
  return 'does not drop ALL capabilities'
}

const volumeTypes = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'persistentVolumeClaim',
  'projected',
  'secret'
]

/** A volume without a source is an `emptyDir` once the API server has defaulted it. */
function restrictedVolumes(pod: Pod): string[] {
  return (pod.spec.volumes ?? []).flatMap(volume => {
    const source = Object.keys(volume).find(key => key !== 'name' && volume[key] !== null)
    if (source === undefined || volumeTypes.includes(source)) return []
    const instead = source === 'hostPath' ? 'a PersistentVolumeClaim, CSI or image volume' : 'a PVC'
    return [`the volume "${volume.name}" has the type ${source}; use ${instead}`]
  })
}

function podRunAsNonRoot(pod: Pod): string[] {
  if (pod.spec.hostUsers === false || pod.spec.securityContext?.runAsNonRoot !== false) return []
  return ['the pod sets runAsNonRoot=false; remove it and set a numeric runAsUser']
}

function runAsNonRoot(pod: Pod, container: Container): string | undefined {
  if (pod.spec.hostUsers === false) return undefined
  if (container.securityContext?.runAsNonRoot === false) {
    return 'sets runAsNonRoot=false; remove it and set a numeric runAsUser'
  }
  if (effectiveNonRoot(pod, container) !== undefined) return undefined
  return 'does not set runAsNonRoot=true'
}

function podRunAsUser(pod: Pod): string[] {
  if (pod.spec.hostUsers === false || pod.spec.securityContext?.runAsUser !== 0) return []
  return ['the pod sets runAsUser=0; remove it if its images have a user of their own']
}

/** A container that only inherits the pod's 0 is reported with the pod. */
function runAsUser(pod: Pod, container: Container): string | undefined {
  if (pod.spec.hostUsers === false || effectiveUser(pod, container) !== 0) return undefined
  if (container.securityContext?.runAsUser !== 0) return undefined
  return 'sets runAsUser=0; remove it if the image has a user of its own'
}

function podSeccomp(pod: Pod): string[] {
  const type = pod.spec.securityContext?.seccompProfile?.type
  if (isWindows(pod) || type === undefined || isAllowedSeccomp(type)) return []
  return [`the pod asks for the seccomp profile ${type}; use RuntimeDefault or Localhost`]
}

function seccomp(pod: Pod, container: Container): string | undefined {
  if (isWindows(pod) || isAllowedSeccomp(effectiveSeccomp(pod, container))) return undefined
  const own = container.securityContext?.seccompProfile?.type
  if (own !== undefined) {
    return `asks for the seccomp profile ${own}; use RuntimeDefault or Localhost`
  }
  // What it inherits is reported with the pod.
  if (pod.spec.securityContext?.seccompProfile) return undefined
  return 'has no seccomp profile'
}
