/**
 * The judges of the twelve `baseline` checks: what of a pod breaks one, in the words of the upstream library.
 *
 * Each is about one rule, whatever the version of the policy; standard.ts says which of them a version has.
 */
import type { Container, Handler, Pod, SELinuxOptions } from '../kubernetes/objects.ts'
import { isAllowedProfile } from './effective.ts'
import { type Breach, isSet, type Judge, namesOf } from './judge.ts'
import { compareBytes, named, plural, quoted, quotedAsGo, setters, sorted } from './wording.ts'

const appArmorAnnotation = 'container.apparmor.security.beta.kubernetes.io/'

export const appArmorProfile: Judge = (pod, containers) => {
  const ofPod = pod.spec.securityContext?.appArmorProfile
  const podBreaks = isSet(ofPod) && !isAllowedProfile(ofPod.type)
  const breaking = containers.filter(({ securityContext }) => {
    const profile = securityContext?.appArmorProfile
    return isSet(profile) && !isAllowedProfile(profile.type)
  })
  const annotations = appArmorAnnotations(pod)
  if (!podBreaks && breaking.length === 0 && annotations.length === 0) return undefined
  const types = breaking.map(({ securityContext }) => securityContext?.appArmorProfile?.type ?? '')
  if (podBreaks) types.push(ofPod.type ?? '')
  const values = [...sorted(types), ...annotations]
  const names = breaking.map(({ name }) => name)
  const who = [
    ...(podBreaks || names.length > 0 ? [setters(podBreaks, names)] : []),
    ...(annotations.length > 0 ? [plural('annotation', annotations.length)] : [])
  ].join(' and ')
  return {
    reason: plural('forbidden AppArmor profile', values.length),
    detail: `${who} must not set AppArmor profile type to ${quoted(values)}`,
    pod: podBreaks || annotations.length > 0,
    containers: names
  }
}

function appArmorAnnotations({ metadata: { annotations } }: Pod): string[] {
  if (!annotations) return []
  return Object.keys(annotations)
    .filter(key => key.startsWith(appArmorAnnotation) && !isAllowedAppArmor(annotations[key]))
    .map(key => `${key}=${quotedAsGo(annotations[key] ?? '')}`)
    .sort(compareBytes)
}

function isAllowedAppArmor(value: string | undefined): boolean {
  return !value || value === 'runtime/default' || value.startsWith('localhost/')
}

const defaultCapabilities = new Set([
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT'
])

export const capabilities: Judge = (_pod, containers) => {
  const forbidden: string[] = []
  const names = namesOf(containers, ({ securityContext }) => {
    const added = securityContext?.capabilities?.add
    const beyond = added ? added.filter(capability => !defaultCapabilities.has(capability)) : []
    for (const capability of beyond) forbidden.push(capability)
    return beyond.length > 0
  })
  if (names.length === 0) return undefined
  return {
    reason: 'non-default capabilities',
    detail: `${named('container', names)} must not include ${quoted(sorted(forbidden))} in securityContext.capabilities.add`,
    containers: names
  }
}

const namespaces = ['hostNetwork', 'hostPID', 'hostIPC'] as const

export const hostNamespaces: Judge = ({ spec }) => {
  if (spec.hostNetwork !== true && spec.hostPID !== true && spec.hostIPC !== true) return undefined
  const shared = namespaces.filter(field => spec[field] === true)
  const detail = shared.map(field => `${field}=true`).join(', ')
  return { reason: 'host namespaces', detail, pod: true, containers: [] }
}

export const hostPathVolumes: Judge = ({ spec }) => {
  const names = (spec.volumes ?? []).filter(({ hostPath }) => isSet(hostPath)).map(v => v.name)
  if (names.length === 0) return undefined
  return { reason: 'hostPath volumes', detail: named('volume', names), pod: true, containers: [] }
}

export const hostPorts: Judge = (_pod, containers) => {
  const forbidden: string[] = []
  const names = namesOf(containers, ({ ports }) => {
    let breaks = false
    for (const { hostPort } of ports ?? []) {
      if (!hostPort) continue
      breaks = true
      forbidden.push(String(hostPort))
    }
    return breaks
  })
  if (names.length === 0) return undefined
  const numbers = sorted(forbidden)
  const use = `${plural('uses', names.length, 'use')} ${plural('hostPort', numbers.length)}`
  return {
    reason: 'hostPort',
    detail: `${named('container', names)} ${use} ${numbers.join(', ')}`,
    containers: names
  }
}

export const hostProbes: Judge = (_pod, containers) => {
  const hosts: string[] = []
  const breaking = namesOf(containers, container => {
    const before = hosts.length
    addHosts(hosts, container.livenessProbe)
    addHosts(hosts, container.readinessProbe)
    addHosts(hosts, container.startupProbe)
    addHosts(hosts, container.lifecycle?.postStart)
    addHosts(hosts, container.lifecycle?.preStop)
    return hosts.length > before
  })
  if (breaking.length === 0) return undefined
  // The one check that names the containers in the order of their names.
  const names = sorted(breaking)
  const forbidden = sorted(hosts)
  const what = plural('probe or lifecycle host', forbidden.length)
  return {
    reason: 'probe or lifecycle host',
    detail: `${named('container', names)} ${plural('uses', names.length, 'use')} ${what} ${quoted(forbidden)}`,
    containers: names
  }
}

function addHosts(hosts: string[], handler: Handler | null | undefined): void {
  if (!handler) return
  if (handler.httpGet?.host) hosts.push(handler.httpGet.host)
  if (handler.tcpSocket?.host) hosts.push(handler.tcpSocket.host)
}

export const privileged: Judge = (_pod, containers) => {
  const names = namesOf(containers, c => c.securityContext?.privileged === true)
  if (names.length === 0) return undefined
  return {
    reason: 'privileged',
    detail: `${named('container', names)} must not set securityContext.privileged=true`,
    containers: names
  }
}

export const procMount: Judge = (_pod, containers) => {
  const types: string[] = []
  const names = namesOf(containers, ({ securityContext }) => {
    const type = securityContext?.procMount
    if (!isSet(type) || type === 'Default') return false
    types.push(type)
    return true
  })
  if (names.length === 0) return undefined
  return {
    reason: 'procMount',
    detail: `${named('container', names)} must not set securityContext.procMount to ${quoted(sorted(types))}`,
    containers: names
  }
}

const seccompAnnotations = {
  pod: 'seccomp.security.alpha.kubernetes.io/pod',
  container: 'container.seccomp.security.alpha.kubernetes.io/'
}

/** Before policy v1.19: the annotations that came before the fields. */
export const seccompAnnotation: Judge = ({ metadata }, containers) => {
  const annotations = metadata.annotations ?? {}
  const breaks = (key: string) =>
    Object.hasOwn(annotations, key) && !isAllowedSeccompAnnotation(annotations[key] ?? '')
  const pod = breaks(seccompAnnotations.pod)
  const names = namesOf(containers, ({ name }) => breaks(seccompAnnotations.container + name))
  if (!pod && names.length === 0) return undefined
  const keys = names.map(name => seccompAnnotations.container + name)
  if (pod) keys.push(seccompAnnotations.pod)
  const forbidden = sorted(keys.map(key => `${key}=${quotedAsGo(annotations[key] ?? '')}`))
  const what = plural('annotation', forbidden.length)
  return {
    reason: 'seccompProfile',
    detail: `forbidden ${what} ${forbidden.join(', ')}`,
    pod,
    containers: names
  }
}

function isAllowedSeccompAnnotation(value: string): boolean {
  return value === 'runtime/default' || value === 'docker/default' || value.startsWith('localhost/')
}

/** What is set must be good; nothing has to be set. */
export const seccompProfile: Judge = (pod, containers) => {
  const ofPod = pod.spec.securityContext?.seccompProfile
  const podBreaks = isSet(ofPod) && !isAllowedProfile(ofPod.type)
  const types = podBreaks ? [ofPod.type ?? ''] : []
  const names = namesOf(containers, ({ securityContext }) => {
    const profile = securityContext?.seccompProfile
    if (!isSet(profile) || isAllowedProfile(profile.type)) return false
    types.push(profile.type ?? '')
    return true
  })
  if (!podBreaks && names.length === 0) return undefined
  return {
    reason: 'seccompProfile',
    detail: `${setters(podBreaks, names)} must not set securityContext.seccompProfile.type to ${quoted(sorted(types))}`,
    pod: podBreaks,
    containers: names
  }
}

export function seLinuxOptions(allowedTypes: ReadonlySet<string>): Judge {
  return (pod, containers) => {
    const ofPod = pod.spec.securityContext?.seLinuxOptions
    const podBreaks = isSet(ofPod) && breaksSELinux(ofPod, allowedTypes)
    const breaking = containers.filter(({ securityContext }) => {
      const options = securityContext?.seLinuxOptions
      return isSet(options) && breaksSELinux(options, allowedTypes)
    })
    if (!podBreaks && breaking.length === 0) return undefined
    const all = breaking.map(c => c.securityContext?.seLinuxOptions as SELinuxOptions)
    if (podBreaks) all.push(ofPod)
    return seLinuxBreach(all, allowedTypes, podBreaks, breaking)
  }
}

function breaksSELinux({ type, user, role }: SELinuxOptions, allowed: ReadonlySet<string>) {
  return !allowed.has(type ?? '') || Boolean(user) || Boolean(role)
}

function seLinuxBreach(
  options: readonly SELinuxOptions[],
  allowedTypes: ReadonlySet<string>,
  pod: boolean,
  breaking: readonly Container[]
): Breach {
  const types = sorted(options.map(({ type }) => type ?? '').filter(t => !allowedTypes.has(t)))
  const what = [
    ...(types.length > 0 ? [`${plural('type', types.length)} ${quoted(types)}`] : []),
    ...(options.some(({ user }) => user) ? ['user may not be set'] : []),
    ...(options.some(({ role }) => role) ? ['role may not be set'] : [])
  ].join('; ')
  const names = breaking.map(({ name }) => name)
  return {
    reason: 'seLinuxOptions',
    detail: `${setters(pod, names)} set forbidden securityContext.seLinuxOptions: ${what}`,
    pod,
    containers: names
  }
}

export function sysctls(allowed: ReadonlySet<string>): Judge {
  return ({ spec }) => {
    const set = spec.securityContext?.sysctls
    if (!set) return undefined
    const forbidden = set.map(({ name }) => name).filter(name => !allowed.has(name))
    if (forbidden.length === 0) return undefined
    const detail = forbidden.join(', ')
    return { reason: 'forbidden sysctls', detail, pod: true, containers: [] }
  }
}

export const windowsHostProcess: Judge = (pod, containers) => {
  const podBreaks = pod.spec.securityContext?.windowsOptions?.hostProcess === true
  const names = namesOf(containers, c => c.securityContext?.windowsOptions?.hostProcess === true)
  if (!podBreaks && names.length === 0) return undefined
  return {
    reason: 'hostProcess',
    detail: `${setters(podBreaks, names)} must not set securityContext.windowsOptions.hostProcess=true`,
    pod: podBreaks,
    containers: names
  }
}
