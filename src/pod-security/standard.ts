/**
 * The Pod Security Standard as data: its checks, and from which version of the policy on which rule of a check holds.
 *
 * Ids, levels and versions are those of the upstream library (k8s.io/pod-security-admission), against which they are tested
 * (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
 */
import type { Pod } from '../kubernetes/objects.ts'
import * as baseline from './baseline.ts'
import { inUserNamespace, isWindows } from './effective.ts'
import type { Judge } from './judge.ts'
import * as restricted from './restricted.ts'

export const levels = ['baseline', 'restricted'] as const
export type Level = (typeof levels)[number]

/** Of the policies v1.0 to v1.37 that the checks know; a later one is taken for this, as upstream does. */
export const newestMinor = 37

export const checkIds = [
  'appArmorProfile',
  'capabilities_baseline',
  'hostNamespaces',
  'hostPathVolumes',
  'hostPorts',
  'hostProbesAndHostLifecycle',
  'privileged',
  'procMount',
  'seLinuxOptions',
  'seccompProfile_baseline',
  'sysctls',
  'windowsHostProcess',
  'allowPrivilegeEscalation',
  'capabilities_restricted',
  'procMount_restricted',
  'restrictedVolumes',
  'runAsNonRoot',
  'runAsUser',
  'seccompProfile_restricted'
] as const
export type CheckId = (typeof checkIds)[number]

export interface Check {
  id: CheckId
  level: Level
  /** Oldest first. */
  rules: readonly Rule[]
  /** The weaker check of `baseline` that is not asked beside this one. */
  replaces?: CheckId
}

export interface Rule {
  /** The first minor version that has this rule. */
  from: number
  judge: Judge
  /** Pods that are not judged. */
  spares?: (pod: Pod) => boolean
}

const seLinuxTypes = ['', 'container_t', 'container_init_t', 'container_kvm_t']

const safeSysctls = {
  0: [
    'kernel.shm_rmid_forced',
    'net.ipv4.ip_local_port_range',
    'net.ipv4.tcp_syncookies',
    'net.ipv4.ping_group_range',
    'net.ipv4.ip_unprivileged_port_start'
  ],
  27: ['net.ipv4.ip_local_reserved_ports'],
  29: [
    'net.ipv4.tcp_keepalive_time',
    'net.ipv4.tcp_fin_timeout',
    'net.ipv4.tcp_keepalive_intvl',
    'net.ipv4.tcp_keepalive_probes'
  ],
  32: ['net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem'],
  37: ['net.ipv4.tcp_slow_start_after_idle', 'net.ipv4.tcp_notsent_lowat']
}

/** `baseline` first, then `restricted`, each by the bytes of their ids: the order of every message. */
export const checks: readonly Check[] = [
  always('appArmorProfile', baseline.appArmorProfile),
  always('capabilities_baseline', baseline.capabilities),
  always('hostNamespaces', baseline.hostNamespaces),
  always('hostPathVolumes', baseline.hostPathVolumes),
  always('hostPorts', baseline.hostPorts),
  {
    id: 'hostProbesAndHostLifecycle',
    level: 'baseline',
    rules: [{ from: 34, judge: baseline.hostProbes }]
  },
  always('privileged', baseline.privileged),
  {
    id: 'procMount',
    level: 'baseline',
    rules: [
      { from: 0, judge: baseline.procMount },
      { from: 35, judge: baseline.procMount, spares: inUserNamespace }
    ]
  },
  {
    id: 'seLinuxOptions',
    level: 'baseline',
    rules: [
      { from: 0, judge: baseline.seLinuxOptions(new Set(seLinuxTypes)) },
      {
        from: 31,
        judge: baseline.seLinuxOptions(new Set([...seLinuxTypes, 'container_engine_t']))
      }
    ]
  },
  {
    id: 'seccompProfile_baseline',
    level: 'baseline',
    rules: [
      { from: 0, judge: baseline.seccompAnnotation },
      { from: 19, judge: baseline.seccompProfile }
    ]
  },
  { id: 'sysctls', level: 'baseline', rules: sysctlRules() },
  always('windowsHostProcess', baseline.windowsHostProcess),
  {
    id: 'allowPrivilegeEscalation',
    level: 'restricted',
    rules: notForWindows(8, restricted.allowPrivilegeEscalation)
  },
  {
    id: 'capabilities_restricted',
    level: 'restricted',
    rules: notForWindows(22, restricted.restrictedCapabilities),
    replaces: 'capabilities_baseline'
  },
  {
    id: 'procMount_restricted',
    level: 'restricted',
    rules: [{ from: 35, judge: baseline.procMount }],
    replaces: 'procMount'
  },
  {
    id: 'restrictedVolumes',
    level: 'restricted',
    rules: [{ from: 0, judge: restricted.restrictedVolumes }],
    replaces: 'hostPathVolumes'
  },
  {
    id: 'runAsNonRoot',
    level: 'restricted',
    rules: notInUserNamespaces(0, restricted.runAsNonRoot)
  },
  { id: 'runAsUser', level: 'restricted', rules: notInUserNamespaces(23, restricted.runAsUser) },
  {
    id: 'seccompProfile_restricted',
    level: 'restricted',
    rules: notForWindows(19, restricted.requiredSeccompProfile),
    replaces: 'seccompProfile_baseline'
  }
]

function always(id: CheckId, judge: Judge): Check {
  return { id, level: 'baseline', rules: [{ from: 0, judge }] }
}

/** From v1.25 on, when `spec.os` had come: the API server refuses these fields on a Windows pod. */
function notForWindows(from: number, judge: Judge): Rule[] {
  return [
    { from, judge },
    { from: 25, judge, spares: isWindows }
  ]
}

/** KEP-127: root in a user namespace is nobody outside. */
function notInUserNamespaces(from: number, judge: Judge): Rule[] {
  return [
    { from, judge },
    { from: 35, judge, spares: inUserNamespace }
  ]
}

function sysctlRules(): Rule[] {
  const allowed: string[] = []
  return Object.entries(safeSysctls).map(([from, names]) => {
    allowed.push(...names)
    return { from: Number(from), judge: baseline.sysctls(new Set(allowed)) }
  })
}

export interface AppliedCheck extends Rule {
  id: CheckId
}

/** The checks of one level at one version, in the order of messages. */
export function checksOf(level: Level, minor: number): readonly AppliedCheck[] {
  const applied: AppliedCheck[] = []
  const replaced = new Set<CheckId>()
  for (const check of checks) {
    if (check.level === 'restricted' && level === 'baseline') continue
    const rule = check.rules.findLast(({ from }) => from <= minor)
    if (rule === undefined) continue
    if (check.replaces !== undefined) replaced.add(check.replaces)
    applied.push({ id: check.id, ...rule })
  }
  return applied.filter(({ id }) => !replaced.has(id))
}

/** Undefined for what is neither `latest` nor `v1.N`. */
export function minorOf(version: string): number | undefined {
  if (version === 'latest') return newestMinor
  const match = /^v1\.(0|[1-9][0-9]*)$/.exec(version)
  return match ? Math.min(Number(match[1]), newestMinor) : undefined
}
