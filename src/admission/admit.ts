/**
 * AdmissionReview in, AdmissionReview out: which modes hold, what the injection says, and how the API server is told.
 *
 * Pure. Looks at the creation of pods and at new ephemeral containers alone; everything else is let through untouched. A dry
 * run of the API server is answered like any other request, because nothing is ever written here.
 */

import { inject } from '../injection/inject.ts'
import type { Finding, Injection, RefusalCode } from '../injection/outcome.ts'
import type { InjectionRequest, InjectionSettings } from '../injection/settings.ts'
import type { Pod } from '../kubernetes/objects.ts'
import type { RayKind } from '../ray/classify.ts'
import { type Modes, modesNeedLabels, type RequestedModes, resolveModes } from './modes.ts'
import {
  type AdmissionAnswer,
  type AdmissionRequest,
  type AdmissionResponse,
  type AdmissionReview,
  apiVersion
} from './review.ts'
import { auditTexts, refusalText, warningTexts } from './texts.ts'

type ClusterTls = NonNullable<InjectionRequest['clusterTls']>

export type AdmissionCode = RefusalCode | 'NamespaceLabel' | 'ForbiddenKey'

/** What metrics and the log are told; holds nothing of the pod's environment. */
export interface AdmissionOutcome {
  allowed: boolean
  kind: RayKind
  /** Of an allowed pod. */
  tls?: 'rayguard' | 'other' | 'none'
  code?: AdmissionCode
  reason?: string
  operations: number
  findings: Finding[]
  modes?: Modes
  requestUid: string
  namespace: string
  dryRun: boolean
}

export interface Admission {
  answer: AdmissionAnswer
  outcome: AdmissionOutcome
  /** Absent where the request was let through or refused before a pod was looked at. */
  injection?: Injection
}

/** True where the labels of the namespace decide: without them there is no answer. */
export function needsLabels({ request }: AdmissionReview, requested: RequestedModes): boolean {
  return isOurs(request) && modesNeedLabels(requested)
}

/**
 * `clusterTls`: what the live pods of the pod's RayCluster have; absent where none lives. `lifetimeNotice`: what enrollment
 * will say of the namespace's label, told early.
 */
export function admit(
  review: AdmissionReview,
  requested: RequestedModes,
  settings: InjectionSettings,
  clusterTls?: ClusterTls,
  lifetimeNotice?: string
): Admission {
  const { request } = review
  if (!isOurs(request)) return letThrough(request)
  const resolved = resolveModes(requested)
  if ('problem' in resolved) return refuseRequest(review, 'NamespaceLabel', resolved.problem)
  const { modes } = resolved
  const asked = injectionRequest(request, modes, clusterTls)
  const injection = noticed(inject(request.object as Pod, asked, settings), lifetimeNotice)
  return {
    answer: answer(response(request, modes, injection)),
    outcome: outcome(request, modes, injection),
    injection
  }
}

/** Only a pod that will ask for a certificate is told. */
function noticed(injection: Injection, reason: string | undefined): Injection {
  if (reason === undefined || !injection.allowed || injection.tls !== 'rayguard') return injection
  const notice: Finding = { kind: 'notice', id: 'LifetimeLabel', reason }
  return { ...injection, findings: [...injection.findings, notice] }
}

/** A refusal that does not come from the pod itself. */
export function refuseRequest(
  { request }: AdmissionReview,
  code: AdmissionCode,
  reason: string
): Admission {
  const findings: Finding[] = []
  return {
    answer: answer({ uid: request.uid, allowed: false, status: forbidden(code, reason) }),
    outcome: {
      ...told(request),
      allowed: false,
      kind: 'none',
      code,
      reason,
      operations: 0,
      findings
    }
  }
}

function isOurs({ kind, operation, subResource }: AdmissionRequest): boolean {
  if (kind.kind !== 'Pod' || (kind.group ?? '') !== '') return false
  return subResource === 'ephemeralcontainers'
    ? operation === 'UPDATE'
    : operation === 'CREATE' && !subResource
}

function letThrough(request: AdmissionRequest): Admission {
  const findings: Finding[] = []
  return {
    answer: answer({ uid: request.uid, allowed: true }),
    outcome: { ...told(request), allowed: true, kind: 'none', operations: 0, findings }
  }
}

function injectionRequest(
  request: AdmissionRequest,
  modes: Modes,
  clusterTls: ClusterTls | undefined
): InjectionRequest {
  return {
    ...modes,
    ...(clusterTls === undefined ? {} : { clusterTls }),
    namespace: request.namespace ?? '',
    // Every kubelet is a member (https://kubernetes.io/docs/reference/access-authn-authz/node/); a pod's author is not.
    fromKubelet: request.userInfo?.groups?.includes('system:nodes') ?? false,
    ...(request.subResource === 'ephemeralcontainers'
      ? { subresource: 'ephemeralcontainers', oldPod: request.oldObject as Pod }
      : {})
  }
}

function response(
  { uid }: AdmissionRequest,
  modes: Modes,
  injection: Injection
): AdmissionResponse {
  const auditAnnotations = auditTexts(modes, injection)
  if (!injection.allowed) {
    const status = forbidden(injection.code, injection.reason)
    return { uid, allowed: false, status, auditAnnotations }
  }
  const { operations, findings } = injection
  const warnings = warningTexts(findings, modes.podSecurity)
  return {
    uid,
    allowed: true,
    ...(operations.length > 0
      ? { patchType: 'JSONPatch', patch: Buffer.from(patchText(operations)).toString('base64') }
      : {}),
    ...(warnings.length > 0 ? { warnings } : {}),
    ...(injection.kind === 'none' && findings.length === 0 ? {} : { auditAnnotations })
  }
}

/** The one spelling of a patch; a dry run shows the same bytes. */
export function patchText(operations: readonly unknown[]): string {
  return JSON.stringify(operations)
}

function forbidden(code: AdmissionCode, reason: string) {
  return { code: 403, reason: 'Forbidden', message: refusalText(code, reason) }
}

function answer(response: AdmissionResponse): AdmissionAnswer {
  return { apiVersion, kind: 'AdmissionReview', response }
}

function outcome(request: AdmissionRequest, modes: Modes, injection: Injection): AdmissionOutcome {
  const { allowed, kind, findings } = injection
  return {
    ...told(request),
    modes,
    allowed,
    kind,
    ...(allowed ? { tls: injection.tls } : { code: injection.code, reason: injection.reason }),
    operations: allowed ? injection.operations.length : 0,
    findings
  }
}

function told({ uid, namespace, dryRun }: AdmissionRequest) {
  return { requestUid: uid, namespace: namespace ?? '', dryRun: dryRun === true }
}
