/**
 * TLS for a head or worker: whether the pod can have it, and the parts that it gets.
 *
 * All checks come before the first change, so that a pod is enrolled whole or refused. Idempotence is decided by the pieces
 * themselves: an annotation that says "done" could be written by anybody.
 */
import { rayTlsVariables, tlsDirectory, tlsVolume, tokenVolume } from '../contract/pod.ts'
import type { Container, Pod, VolumeMount } from '../kubernetes/objects.ts'
import { isWindows, selectsWindowsNodes } from '../pod-security/effective.ts'
import { hasCompleteTls, tlsVariables } from '../ray/tls-variables.ts'
import type { Edits } from './edits.ts'
import { isEnroll, putEnrollContainer, refuseForeignEnrollContainer } from './enroll-container.ts'
import { type KeyReaders, keyReaders } from './key-group.ts'
import { isMesh } from './mesh.ts'
import { putMount, refuseOverlap } from './mounts.ts'
import { type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'
import type { InjectionSettings } from './settings.ts'
import { addVariables, isSameVariable } from './variables.ts'
import { putVolumes, refuseForeignVolumes } from './volumes.ts'

const mount: VolumeMount = { name: tlsVolume, mountPath: tlsDirectory, readOnly: true }

/** Undefined when the pod can be enrolled. `names` are the containers that get the certificate. */
export function refuseTls(
  pod: Pod,
  names: readonly string[],
  settings: InjectionSettings
): Refusal | undefined {
  return (
    refuseNode(pod) ??
    refuseForeignVolumes(pod) ??
    refuseForeignEnrollContainer(pod, settings) ??
    firstRefusal(allContainers(pod), refuseKeyMounts) ??
    firstRefusal(containersNamed(pod, names), refuseOverlapWithKey) ??
    firstRefusal(containersNamed(pod, names), refuseOtherVariables)
  )
}

export function putTls(edits: Edits, names: readonly string[], settings: InjectionSettings): void {
  const readers = keyReaders(edits.pod, containersNamed(edits.pod, names), settings)
  moveFirst(edits)
  putEnrollContainer(edits, readers, settings)
  putVolumes(edits, settings)
  putPullSecrets(edits, settings.imagePullSecrets)
  putSupplementalGroup(edits, readers)
  for (const list of ['initContainers', 'containers'] as const) {
    edits.pod.spec[list]?.forEach((container, index) => {
      if (!names.includes(container.name)) return
      addVariables(edits, ['spec', list, index], container, rayTlsVariables)
      putMount(edits, ['spec', list, index], container, mount)
    })
  }
}

/** TLS by other means: the Ray container has all that Ray asks for, and not from us. */
export function hasForeignTls(container: Container): boolean {
  const variables = tlsVariables(container)
  return hasCompleteTls(variables) && !variables.every(isOurs)
}

function refuseNode(pod: Pod): Refusal | undefined {
  // Its address is the node's: a certificate for it would let the pod pass for every other such pod and for the kubelet.
  if (pod.spec.hostNetwork) {
    return refuse(
      'HostNetwork',
      "The pod uses its node's network, and a certificate for a node's address is never issued; remove hostNetwork."
    )
  }
  if (isWindows(pod) || selectsWindowsNodes(pod)) {
    return refuse('WindowsPod', 'Rayguard has no init container for Windows nodes.')
  }
  return undefined
}

/** The token is the pod's identity and the volume its key: nobody but the agent holds the one or writes the other. */
function refuseKeyMounts(container: Container): Refusal | undefined {
  if (isEnroll(container)) return undefined
  for (const { name, readOnly } of container.volumeMounts ?? []) {
    if (name === tokenVolume) {
      return refuse(
        'TokenMounted',
        `The container ${quote(container.name)} mounts the volume "${tokenVolume}", which only Rayguard's own may; remove the mount.`
      )
    }
    if (name === tlsVolume && readOnly !== true) {
      return refuse(
        'TlsVolumeWritable',
        `The container ${quote(container.name)} mounts the volume "${tlsVolume}" writable; remove the mount or make it read-only.`
      )
    }
  }
  return undefined
}

function refuseOverlapWithKey(container: Container): Refusal | undefined {
  return refuseOverlap(container, mount)
}

/** `RAY_USE_TLS=0`, half a set, or a full one in a single container would leave the pod outside or the cluster split. */
function refuseOtherVariables(container: Container): Refusal | undefined {
  const others = tlsVariables(container).filter(variable => !isOurs(variable))
  if (others.length === 0) return undefined
  const names = [...new Set(others.map(({ name }) => name))].join(', ')
  return refuse(
    'TlsVariables',
    `The container ${quote(container.name)} sets ${names} to another value than Rayguard; remove ${names} from its variables.`
  )
}

function isOurs(variable: { name: string; value?: string | null }): boolean {
  const wanted = rayTlsVariables.find(({ name }) => name === variable.name)
  return wanted !== undefined && isSameVariable(variable, wanted)
}

/** Something that runs before ours could prepare the ground for it; only a mesh has to, so that there is a network. */
function moveFirst(edits: Edits): void {
  const containers = edits.pod.spec.initContainers ?? []
  const from = containers.findIndex(isEnroll)
  const to = containers.findIndex(container => !isMesh(container))
  if (from > to) edits.move(['spec', 'initContainers'], from, to)
}

function putPullSecrets(edits: Edits, names: readonly string[]): void {
  for (const name of names) {
    if (edits.pod.spec.imagePullSecrets?.some(secret => secret.name === name)) continue
    edits.append(['spec', 'imagePullSecrets'], { name })
  }
}

function putSupplementalGroup(edits: Edits, { keyGroup, supplemental }: KeyReaders): void {
  if (!supplemental || keyGroup === undefined) return
  if (edits.pod.spec.securityContext?.supplementalGroups?.includes(keyGroup)) return
  edits.append(['spec', 'securityContext', 'supplementalGroups'], keyGroup)
}

function allContainers(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers]
}

function containersNamed(pod: Pod, names: readonly string[]): Container[] {
  return allContainers(pod).filter(({ name }) => names.includes(name))
}

function firstRefusal(
  containers: readonly Container[],
  check: (container: Container) => Refusal | undefined
): Refusal | undefined {
  for (const container of containers) {
    const refusal = check(container)
    if (refusal) return refusal
  }
  return undefined
}
