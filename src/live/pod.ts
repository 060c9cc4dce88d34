/**
 * What is kept of a Ray pod: whose it is, whether it speaks TLS, whether it lives, and what its agent said last.
 *
 * Pure. Heads and workers alone; submitters and Redis cleanups do not take part in Ray's TLS.
 */
import type { TerminationMessage } from '../contract/enrollment.ts'
import { enrollContainer } from '../contract/pod.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { classify } from '../ray/classify.ts'
import { rayContainerIndex } from '../ray/containers.ts'
import { type ClusterReference, controllingRayCluster } from '../ray/owner.ts'
import { hasCompleteTls, tlsVariables } from '../ray/tls-variables.ts'

/** `rayguard`: our init container stands; `other`: TLS by other means, which is neither for nor against us. */
export type PodTls = 'rayguard' | 'other' | 'none'

export interface LivePod {
  uid: string
  namespace: string
  name: string
  node: 'head' | 'worker'
  cluster: ClusterReference
  tls: PodTls
  /** Not finished and not being deleted. */
  live: boolean
  /** As its probes say. */
  ready: boolean
  /** Milliseconds since the epoch. */
  createdAt: number
  /** Absent until the agent has written its last words. */
  agent?: AgentWords
  /** The agent runs, or waits to be run again. */
  enrolling: boolean
}

export type AgentWords =
  | ({ ended: 'well' } & TerminationMessage)
  /** `code` is that of the refusal; `Unknown` where the message is none of ours. */
  | { ended: 'badly'; code: string; message: string }

/** `undefined` for what is not a head or worker under the control of a RayCluster. */
export function livePod(pod: Pod): LivePod | undefined {
  const cluster = controllingRayCluster(pod)
  if (cluster === undefined || !Array.isArray(pod.spec?.containers)) return undefined
  const { kind } = classify(pod)
  if (kind !== 'head' && kind !== 'worker') return undefined
  const { uid = '', namespace = '', name = '', creationTimestamp } = pod.metadata
  const agent = agentWords(pod)
  return {
    ...{ uid, namespace, name, node: kind, cluster, tls: podTls(pod), live: isLive(pod) },
    ready: isReady(pod),
    enrolling: isEnrolling(pod),
    createdAt: Date.parse(creationTimestamp ?? '') || 0,
    ...(agent === undefined ? {} : { agent })
  }
}

function podTls(pod: Pod): PodTls {
  if (pod.spec.initContainers?.some(({ name }) => name === enrollContainer)) return 'rayguard'
  const ray = pod.spec.containers[rayContainerIndex]
  return ray !== undefined && hasCompleteTls(tlsVariables(ray)) ? 'other' : 'none'
}

/**
 * A pod that is being deleted does not count, though it runs on for a while: whoever deletes all pods of a cluster wants
 * it anew, and a cluster would otherwise keep itself in its former state for ever.
 */
function isLive({ metadata, status }: Pod): boolean {
  return !metadata.deletionTimestamp && status?.phase !== 'Succeeded' && status?.phase !== 'Failed'
}

function isReady({ status }: Pod): boolean {
  return status?.conditions?.some(each => each.type === 'Ready' && each.status === 'True') ?? false
}

/** Not before it has a node, and its image is there. */
function isEnrolling({ status }: Pod): boolean {
  const found = status?.initContainerStatuses?.find(({ name }) => name === enrollContainer)
  const { running, terminated } = found?.state ?? {}
  return !terminated && Boolean(running ?? found?.lastState?.terminated)
}

/** The agent's last words, of its last run: of this sandbox, else of the one before. */
export function agentWords({ status }: Pod): AgentWords | undefined {
  const found = status?.initContainerStatuses?.find(({ name }) => name === enrollContainer)
  const ended = found?.state?.terminated ?? found?.lastState?.terminated
  if (!ended) return undefined
  const said = record(ended.message)
  const { serialNumber, notAfter, anchorSha256, anchorKeySha256 } = said
  if (ended.exitCode === 0) {
    if (typeof serialNumber !== 'string' || !isTime(notAfter)) return undefined
    const anchor = typeof anchorSha256 === 'string' ? anchorSha256 : ''
    const trustedSha256 = strings(said.trustedSha256)
    const trustedKeySha256 = strings(said.trustedKeySha256)
    return {
      ...{ ended: 'well', serialNumber, notAfter, anchorSha256: anchor },
      ...(typeof anchorKeySha256 === 'string' && { anchorKeySha256 }),
      ...(trustedSha256 && { trustedSha256 }),
      ...(trustedKeySha256 && { trustedKeySha256 })
    }
  }
  const code = typeof said.code === 'string' && /^\w{1,40}$/.test(said.code) ? said.code : 'Unknown'
  return { ended: 'badly', code, message: typeof said.message === 'string' ? said.message : '' }
}

/** RFC 3339 as we write it. Attack: `Date.parse` takes any words in parentheses, and people would read them in an Event. */
function isTime(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/.test(value) &&
    !Number.isNaN(Date.parse(value))
  )
}

function strings(value: unknown): string[] | undefined {
  return Array.isArray(value) && value.every(each => typeof each === 'string') ? value : undefined
}

/** Whoever may write a pod's status may write anything here. */
function record(text: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? '')
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
