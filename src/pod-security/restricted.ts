/**
 * The judges of the seven checks that `restricted` adds to `baseline`, in the words of the upstream library.
 *
 * `procMount_restricted` has the judge of the baseline check, and spares nobody.
 */
import type { Container, Volume } from '../kubernetes/objects.ts'
import { seccompProfile } from './baseline.ts'
import { effectiveNonRoot, forbiddenCapabilities } from './effective.ts'
import { isSet, type Judge, namesOf } from './judge.ts'
import { named, plural, quoted, setters, sorted } from './wording.ts'

export const allowPrivilegeEscalation: Judge = (_pod, containers) => {
  const names = namesOf(containers, c => c.securityContext?.allowPrivilegeEscalation !== false)
  if (names.length === 0) return undefined
  return {
    reason: 'allowPrivilegeEscalation != false',
    detail: `${named('container', names)} must set securityContext.allowPrivilegeEscalation=false`,
    containers: names
  }
}

export const restrictedCapabilities: Judge = (_pod, containers) => {
  const keeping = namesOf(containers, c => !dropsAll(c))
  const forbidden: string[] = []
  const adding = namesOf(containers, container => {
    const added = forbiddenCapabilities(container)
    for (const capability of added) forbidden.push(capability)
    return added.length > 0
  })
  if (keeping.length === 0 && adding.length === 0) return undefined
  const details: string[] = []
  if (keeping.length > 0) {
    details.push(
      `${named('container', keeping)} must set securityContext.capabilities.drop=["ALL"]`
    )
  }
  if (adding.length > 0) {
    details.push(
      `${named('container', adding)} must not include ${quoted(sorted(forbidden))} in securityContext.capabilities.add`
    )
  }
  return {
    reason: 'unrestricted capabilities',
    detail: details.join('; '),
    containers: [...new Set([...keeping, ...adding])]
  }
}

/** The exact word: the runtimes differ in what they make of another spelling. */
export function dropsAll({ securityContext }: Container): boolean {
  return securityContext?.capabilities?.drop?.includes('ALL') === true
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

/** In the order in which upstream looks for them; a volume has one. */
const otherVolumeTypes = [
  'hostPath',
  'gcePersistentDisk',
  'awsElasticBlockStore',
  'gitRepo',
  'nfs',
  'iscsi',
  'glusterfs',
  'rbd',
  'flexVolume',
  'cinder',
  'cephfs',
  'flocker',
  'fc',
  'azureFile',
  'vsphereVolume',
  'quobyte',
  'azureDisk',
  'photonPersistentDisk',
  'portworxVolume',
  'scaleIO',
  'storageos'
]

export const restrictedVolumes: Judge = ({ spec }) => {
  const breaking = (spec.volumes ?? []).filter(volume => !hasOneOf(volume, volumeTypes))
  if (breaking.length === 0) return undefined
  const types = sorted(breaking.map(volumeType))
  const what = `${plural('uses', breaking.length, 'use')} ${plural('restricted volume type', types.length)}`
  return {
    reason: 'restricted volume types',
    detail: `${named(
      'volume',
      breaking.map(({ name }) => name)
    )} ${what} ${quoted(types)}`,
    pod: true,
    containers: []
  }
}

export function volumeType(volume: Volume): string {
  return otherVolumeTypes.find(type => isSet(volume[type])) ?? 'unknown'
}

function hasOneOf(volume: Volume, types: readonly string[]): boolean {
  return types.some(type => isSet(volume[type]))
}

/** An explicit `false` is named alone: upstream does not get to who sets nothing. */
export const runAsNonRoot: Judge = (pod, containers) => {
  const podBreaks = pod.spec.securityContext?.runAsNonRoot === false
  const explicit = namesOf(containers, c => c.securityContext?.runAsNonRoot === false)
  const reason = 'runAsNonRoot != true'
  if (podBreaks || explicit.length > 0) {
    const detail = `${setters(podBreaks, explicit)} must not set securityContext.runAsNonRoot=false`
    return { reason, detail, pod: podBreaks, containers: explicit }
  }
  const lacking = namesOf(containers, c => effectiveNonRoot(pod, c) === undefined)
  if (lacking.length === 0) return undefined
  const detail = `pod or ${named('container', lacking)} must set securityContext.runAsNonRoot=true`
  return { reason, detail, containers: lacking }
}

export const runAsUser: Judge = (pod, containers) => {
  const podBreaks = pod.spec.securityContext?.runAsUser === 0
  const names = namesOf(containers, c => c.securityContext?.runAsUser === 0)
  if (!podBreaks && names.length === 0) return undefined
  const detail = `${setters(podBreaks, names)} must not set runAsUser=0`
  return { reason: 'runAsUser=0', detail, pod: podBreaks, containers: names }
}

/** What is set must be good, and something must be set. */
export const requiredSeccompProfile: Judge = (pod, containers) => {
  const explicit = seccompProfile(pod, containers)
  if (explicit) return explicit
  if (isSet(pod.spec.securityContext?.seccompProfile)) return undefined
  const lacking = namesOf(containers, c => !isSet(c.securityContext?.seccompProfile))
  if (lacking.length === 0) return undefined
  return {
    reason: 'seccompProfile',
    detail: `pod or ${named('container', lacking)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
    containers: lacking
  }
}
