/**
 * What an injection comes to: a changed pod, or a refusal with a stable code. Both are values; a pod is never a fault.
 */
import type { Pod } from '../kubernetes/objects.ts'
import type { CheckId } from '../pod-security/standard.ts'
import type { RayKind } from '../ray/classify.ts'
import type { Operation } from './edits.ts'

export const refusalCodes = [
  'PodMalformed',
  'PodTooLarge',
  'AnnotationUnknown',
  'AnnotationInvalid',
  'MirrorPod',
  'NodeTypeUnknown',
  'WindowsPod',
  'HostNetwork',
  'TlsVariables',
  'TlsByOtherMeans',
  'LiveClusterWithoutTls',
  'ReservedContainer',
  'ReservedVolume',
  'TokenMounted',
  'TlsVolumeWritable',
  'MountConflict',
  'NetrcVariable',
  'PodSecurity'
] as const
export type RefusalCode = (typeof refusalCodes)[number]

export const noticeIds = [
  'NotRay',
  'NodeTypeUnknown',
  'TlsByOtherMeans',
  'LiveClusterWithoutTls',
  'LiveClusterWithTls',
  'AnnotationIgnored',
  'MeshFirst',
  'SharedProcesses',
  'LifetimeLabel',
  'Sudo',
  'WindowsNodes'
] as const
export type NoticeId = (typeof noticeIds)[number]

export const changeIds = ['Tightened', 'UnknownUser'] as const
export type ChangeId = (typeof changeIds)[number]

/**
 * A `violation` stands against `restricted` and is refused under `enforce`; a `notice` is only said. Both are found again in
 * the final pod; a `change` is known only while it is made.
 */
export type Finding =
  | { kind: 'violation'; id: CheckId; container?: string; reason: string }
  | { kind: 'notice'; id: NoticeId; container?: string; reason: string }
  | { kind: 'change'; id: ChangeId; container?: string; reason: string }

export interface Refusal {
  code: RefusalCode
  /** For the pod's author: what was expected, what was found, what to do. */
  reason: string
}

export type Injection =
  | {
      allowed: true
      kind: RayKind
      /** What the pod speaks in the end: with Rayguard's certificate, by other means, or not at all. */
      tls: 'rayguard' | 'other' | 'none'
      /** Shares with the pod that was handed in whatever the operations do not touch. */
      pod: Pod
      operations: Operation[]
      findings: Finding[]
    }
  | ({ allowed: false; kind: RayKind; findings: Finding[] } & Refusal)

export function refuse(code: RefusalCode, reason: string): Refusal {
  return { code, reason }
}
