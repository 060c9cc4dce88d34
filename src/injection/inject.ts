/**
 * Decides what becomes of one pod: the parts that it gets, or why it is refused.
 *
 * Pure: the same pod, request and settings give the same answer. Never reads `status` or an annotation of ours to decide,
 * never drops or loosens what the pod's author wrote, says what it tightens, and never lets a pod opt out.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import { classify, type RayPod } from '../ray/classify.ts'
import { rayContainerIndex, rayContainers } from '../ray/containers.ts'
import { readAnnotations, type Wishes } from './annotations.ts'
import { createEdits, type Edits } from './edits.ts'
import { isEnroll } from './enroll-container.ts'
import { newEphemeral, refuseEphemeralMounts } from './ephemeral.ts'
import { putNetrc, refuseNetrc } from './netrc.ts'
import { tlsNotices } from './notices.ts'
import { type Finding, type Injection, type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'
import { putReport } from './report.ts'
import { putUsers, secure, secureEphemeral } from './security.ts'
import type { InjectionRequest, InjectionSettings } from './settings.ts'
import { refuseOddShape, refuseTooLarge } from './shape.ts'
import { hasForeignTls, putTls, refuseTls } from './tls.ts'
import { violationRefusal } from './violations.ts'

const mirrorAnnotation = 'kubernetes.io/config.mirror'

export function inject(
  pod: Pod,
  request: InjectionRequest,
  settings: InjectionSettings
): Injection {
  const odd = refuseOddShape(pod)
  if (odd) return refused('none', odd)
  const ray = classify(pod)
  const mirror = Object.hasOwn(pod.metadata.annotations ?? {}, mirrorAnnotation)
  const isEphemeral = request.subresource === 'ephemeralcontainers'
  // Before the labels are asked: they can be changed on a running pod, its volumes cannot.
  const mounts = isEphemeral ? refuseEphemeralMounts(pod, newEphemeral(request.oldPod)) : undefined
  if (mounts) return refused(ray.kind, mounts)
  const misspelt = (ray.kind === 'none' && ray.looksLikeRay === true) || isFalseCleanup(pod, ray)
  if (misspelt && request.tls === 'required' && !isEphemeral)
    return refused('none', nodeTypeUnknown(ray))
  if ((ray.kind === 'none' && !misspelt) || (mirror && request.fromKubelet)) {
    return untouched(pod, ray)
  }
  const refusal = refuseTooLarge(pod) ?? (mirror ? forgedMirror : undefined)
  if (refusal) return refused(ray.kind, refusal)
  if (isEphemeral) return injectEphemeral(pod, ray, request, settings)
  if (misspelt) return injectJob(pod, ray, { tlsContainers: [] }, request, settings)
  const annotations = readAnnotations(pod, ray.kind)
  if ('refusal' in annotations) return refused(ray.kind, annotations.refusal)
  return ray.kind === 'head' || ray.kind === 'worker'
    ? injectNode(pod, ray, annotations.wishes, request, settings)
    : injectJob(pod, ray, annotations.wishes, request, settings)
}

/** The API server refuses a token volume on mirror pods, so that the annotation would be a way out of TLS. */
const forgedMirror = refuse(
  'MirrorPod',
  `The annotation ${mirrorAnnotation} belongs to pods that a kubelet creates; remove it.`
)

/** A head that calls itself Redis cleanup would be without TLS; the real one is the pod of a Job. */
function isFalseCleanup(pod: Pod, ray: RayPod): boolean {
  const byJob = pod.metadata.ownerReferences?.some(
    owner => owner.controller && owner.kind === 'Job' && owner.apiVersion === 'batch/v1'
  )
  return ray.kind === 'redis-cleanup' && !byJob
}

/** A label that is nearly KubeRay's must not be a way out where TLS is required. */
function nodeTypeUnknown(ray: RayPod): Refusal {
  const reason = ray.reason ?? 'only a pod of a Job can be a Redis cleanup'
  return refuse('NodeTypeUnknown', `This namespace requires TLS of Ray pods, and ${reason}.`)
}

function untouched(pod: Pod, ray: RayPod): Injection {
  const findings: Finding[] = ray.reason
    ? [{ kind: 'notice', id: ray.looksLikeRay ? 'NodeTypeUnknown' : 'NotRay', reason: ray.reason }]
    : []
  return { allowed: true, kind: 'none', tls: 'none', pod, operations: [], findings }
}

function refused(kind: RayPod['kind'], refusal: Refusal, findings: Finding[] = []): Injection {
  return { allowed: false, kind, ...refusal, findings }
}

/** A head or worker: TLS, the `.netrc`, security, in this order, so that security judges what was injected as well. */
function injectNode(
  pod: Pod,
  ray: RayPod,
  wishes: Wishes,
  request: InjectionRequest,
  settings: InjectionSettings
): Injection {
  const wanted = request.tls !== 'no-tls'
  const foreign = wanted && hasForeignTls(pod.spec.containers[rayContainerIndex] as Container)
  const names = [...new Set([...rayContainers(pod, ray.kind), ...wishes.tlsContainers])]
  const leftAlone = wanted && !foreign && wouldSplit(pod, request)
  const enroll = wanted && !foreign && !leftAlone
  const refusal =
    (foreign && request.tls === 'required' ? foreignRequired : undefined) ??
    (leftAlone && request.tls === 'required' ? refuseLive(ray) : undefined) ??
    (enroll ? refuseTls(pod, names, settings) : undefined) ??
    (wishes.netrcSecret === undefined ? undefined : refuseNetrc(pod, wishes.netrcSecret))
  if (refusal) return refused(ray.kind, refusal)

  const edits = createEdits(pod)
  // Before TLS: a user that all containers share is who gets the key.
  if (request.podSecurity !== 'off') putUsers(edits, settings)
  if (enroll) putTls(edits, names, settings)
  if (wishes.netrcSecret !== undefined) putNetrc(edits, wishes.netrcSecret)
  const notices = foreign ? [foreignNotice] : tlsNotices(edits.pod)
  if (leftAlone) notices.push(leftAloneNotice(ray))
  if (!wanted && request.clusterTls === 'rayguard') notices.push(withTlsNotice)
  return finish(edits, ray, request, settings, { foreign, names, notices })
}

const foreignRequired = refuse(
  'TlsByOtherMeans',
  'The Ray container brings its own TLS, and this namespace requires that of Rayguard; remove RAY_USE_TLS and the ' +
    'three RAY_TLS_ variables, or turn off tlsOptions of the RayCluster.'
)

const foreignNotice: Finding = {
  kind: 'notice',
  id: 'TlsByOtherMeans',
  reason: 'the Ray container brings its own TLS, which is left alone'
}

/**
 * A pod with TLS among pods without it can reach none of them, and KubeRay waits for ever. What carries our container was
 * admitted with it before: a second pass takes nothing away.
 */
function wouldSplit(pod: Pod, { clusterTls }: InjectionRequest): boolean {
  return clusterTls === 'none' && !isEnrolled(pod)
}

/** Neither a split cluster nor a pod without TLS: the running pods go on, and somebody has to decide. */
function refuseLive(ray: RayPod): Refusal {
  return refuse(
    'LiveClusterWithoutTls',
    `This namespace requires TLS, and ${liveWithoutTls(ray)}; a pod with TLS could not join them. ${wayOut}`
  )
}

function leftAloneNotice(ray: RayPod): Finding {
  const reason = `${liveWithoutTls(ray)}, so this pod gets none either. ${wayOut}`
  return { kind: 'notice', id: 'LiveClusterWithoutTls', reason }
}

function liveWithoutTls({ clusterName = '' }: RayPod): string {
  return `RayCluster ${quote(clusterName)} runs without it`
}

const wayOut = 'Delete all its pods at once: they come back with TLS.'

const withTlsNotice: Finding = {
  kind: 'notice',
  id: 'LiveClusterWithTls',
  reason:
    'the running pods of this RayCluster have TLS, and this one, by the label of its namespace, cannot join them'
}

/** A submitter speaks HTTP and the Redis cleanup speaks to Redis: neither is enrolled. */
function injectJob(
  pod: Pod,
  ray: RayPod,
  wishes: Wishes,
  request: InjectionRequest,
  settings: InjectionSettings
): Injection {
  const notices: Finding[] = []
  // Labels that are nearly KubeRay's: no role, so no certificate, but Pod Security all the same.
  if (ray.kind === 'none' && ray.reason !== undefined) {
    notices.push({ kind: 'notice', id: 'NodeTypeUnknown', reason: ray.reason })
  }
  // The cleanup pod is a copy of its head, whose annotations are meant for the head.
  const ignored = wishes.tlsContainers.length > 0 || wishes.netrcSecret !== undefined
  if (ray.kind === 'submitter' && ignored) {
    const reason =
      'annotations of rayguard.dev have no effect on a submitter, which gets no certificate'
    notices.push({ kind: 'notice', id: 'AnnotationIgnored', reason })
  }
  const edits = createEdits(pod)
  if (request.podSecurity !== 'off') putUsers(edits, settings)
  return finish(edits, ray, request, settings, { foreign: false, names: [], notices })
}

function finish(
  edits: Edits,
  ray: RayPod,
  request: InjectionRequest,
  settings: InjectionSettings,
  { foreign, names, notices }: { foreign: boolean; names: string[]; notices: Finding[] }
): Injection {
  // Not spread into a call: a hostile pod has more of them than a call may have arguments.
  const findings = request.podSecurity === 'off' ? notices : notices.concat(secure(edits, settings))
  const refusal =
    request.podSecurity === 'enforce' ? violationRefusal(edits.pod, findings) : undefined
  if (refusal) return refused(ray.kind, refusal, findings)
  const tls = foreign ? 'other' : isEnrolled(edits.pod) ? 'rayguard' : 'none'
  putReport(edits, { node: ray.kind, tls, tlsContainers: names, findings })
  return {
    allowed: true,
    kind: ray.kind,
    tls,
    pod: edits.pod,
    operations: edits.operations,
    findings
  }
}

function injectEphemeral(
  pod: Pod,
  ray: RayPod,
  request: InjectionRequest,
  settings: InjectionSettings
): Injection {
  const edits = createEdits(pod)
  const isNew = newEphemeral(request.oldPod)
  const findings = request.podSecurity === 'off' ? [] : secureEphemeral(edits, isNew, settings)
  const refusal = request.podSecurity === 'enforce' ? violationRefusal(pod, findings) : undefined
  if (refusal) return refused(ray.kind, refusal, findings)
  const { operations } = edits
  const tls = isEnrolled(pod) ? 'rayguard' : 'none'
  return { allowed: true, kind: ray.kind, tls, pod: edits.pod, operations, findings }
}

function isEnrolled({ spec }: Pod): boolean {
  return spec.initContainers?.some(isEnroll) === true
}
