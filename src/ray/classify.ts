/**
 * Decides what a pod is to KubeRay: head, worker, RayJob submitter, Redis cleanup, or none of these.
 *
 * Reads labels and variables that the pod's author may have written, so the answer says how to treat the pod, never who
 * it is: that is proven at enrollment. Never reads `status`, which at admission is whatever the caller sent.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'

export type RayKind = 'head' | 'worker' | 'submitter' | 'redis-cleanup' | 'none'

export interface RayPod {
  kind: RayKind
  /** The value of `ray.io/cluster`; only on pods that KubeRay itself builds. */
  clusterName?: string
  /** The value of `ray.io/group` on a worker. */
  groupName?: string
  /** For `none`: why, and whether the pod looks as if it were meant to be one of Ray's. */
  reason?: string
  looksLikeRay?: boolean
}

export const clusterLabel = 'ray.io/cluster'
export const nodeTypeLabel = 'ray.io/node-type'
export const groupLabel = 'ray.io/group'
const originNameLabel = 'ray.io/originated-from-cr-name'
const originKindLabel = 'ray.io/originated-from-crd'
/** Set by the Job controller; the second is its name before Kubernetes 1.27, still written. */
const jobNameLabels = ['batch.kubernetes.io/job-name', 'job-name']
const submissionVariable = 'RAY_JOB_SUBMISSION_ID'

export function classify(pod: Pod): RayPod {
  const labels = pod.metadata.labels ?? {}
  const clusterName = own(labels, clusterLabel)
  const nodeType = own(labels, nodeTypeLabel)
  if (clusterName && (nodeType === 'head' || nodeType === 'worker')) {
    const groupName = own(labels, groupLabel)
    return groupName ? { kind: nodeType, clusterName, groupName } : { kind: nodeType, clusterName }
  }
  // The cleanup Job's pod is a copy of the head with one label changed; its script speaks to Redis alone.
  if (clusterName && nodeType === 'redis-cleanup') return { kind: 'redis-cleanup', clusterName }
  if (isSubmitter(pod, labels)) return { kind: 'submitter' }
  return none(clusterName, nodeType)
}

/** Labels are user input: `constructor` or `__proto__` must not find anything on the prototype. */
export function own(map: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(map, key) ? map[key] : undefined
}

/** KubeRay labels submitters from v1.7 on; before, only the Job's label and the variable tell. */
function isSubmitter(pod: Pod, labels: Readonly<Record<string, string>>): boolean {
  if (own(labels, originKindLabel) === 'RayJob' && own(labels, originNameLabel)) return true
  if (!jobNameLabels.some(label => own(labels, label))) return false
  return pod.spec.containers.some(hasSubmissionVariable)
}

function hasSubmissionVariable(container: Container): boolean {
  return (container.env ?? []).some(variable => variable.name === submissionVariable)
}

function none(clusterName: string | undefined, nodeType: string | undefined): RayPod {
  if (clusterName === undefined && nodeType === undefined) {
    return { kind: 'none', reason: 'the pod carries none of the labels of a Ray pod' }
  }
  const found = nodeType === undefined ? 'is missing' : `is ${JSON.stringify(cut(nodeType))}`
  return {
    kind: 'none',
    looksLikeRay: true,
    reason: clusterName
      ? `the label ${nodeTypeLabel} ${found}; head, worker or redis-cleanup was expected`
      : `the label ${clusterLabel} is missing or empty, though ${nodeTypeLabel} ${found}`
  }
}

function cut(text: string): string {
  return text.length > 63 ? `${text.slice(0, 60)}...` : text
}
