/**
 * Tells whoever applies a RayCluster, RayJob, RayService or RayCronJob what will become of its pods.
 *
 * KubeRay makes the pods and reads what is said of them; its user never does. So it is said here, and never more than said:
 * a resource is always let through, whatever it holds.
 */
import { isDeepStrictEqual } from 'node:util'
import type { InjectionRequest, InjectionSettings } from '../injection/settings.ts'
import { isMadeOfRayResource } from '../ray/owner.ts'
import { isRayResource, podsOfResource, rayResources } from '../ray/resources.ts'
import { adviceOn, noteOn } from './advice.ts'
import { type Foresight, foresee, type Weight, weights } from './foresight.ts'
import { type Modes, type RequestedModes, resolveModes } from './modes.ts'
import {
  type AdmissionAnswer,
  type AdmissionRequest,
  type AdmissionReview,
  apiVersion
} from './review.ts'
import { modesText, warning } from './texts.ts'

type ClusterTls = NonNullable<InjectionRequest['clusterTls']>
type Members = Record<string, unknown>

/** What metrics and the log are told. */
export interface ValidationOutcome {
  /** Of the resource. */
  kind: string
  /** The weightiest of what was said; `unread` where the pods could not be foretold. */
  result: Weight | 'nothing' | 'unread'
  /** Of checks, notices and refusals, each once. */
  ids: string[]
  requestUid: string
  namespace: string
  dryRun: boolean
}

export interface Validation {
  answer: AdmissionAnswer
  /** Absent where there was nothing to judge. */
  outcome?: ValidationOutcome
}

/**
 * Of a spec. Deeper than any field of a Pod, and no strain on what follows the nesting by recursion; and as many values as a
 * hundred worker groups with a hundred variables each. What is beyond would keep other admissions waiting.
 */
const maximumDepth = 100
const maximumValues = 50_000

/** Before anything is looked at that costs time. */
export function isOfRay({ request: { kind, operation, subResource } }: AdmissionReview): boolean {
  return (
    kind.group === 'ray.io' &&
    (rayResources as readonly string[]).includes(kind.kind) &&
    !subResource &&
    (operation === 'CREATE' || operation === 'UPDATE')
  )
}

/** `clusterTls`: what the live pods of this RayCluster have; absent where none lives, and for other resources. */
export function validate(
  review: AdmissionReview,
  requested: RequestedModes,
  settings: InjectionSettings,
  clusterTls?: ClusterTls
): Validation {
  const { request } = review
  const resource = request.object
  if (!isOfRay(review) || !isObject(resource) || !isRayResource(resource)) {
    return { answer: answer(request, []) }
  }
  if ([resource, request.oldObject].some(isTooLarge)) {
    return unread(
      review,
      `nothing was looked at: its spec has more than ${maximumValues} values, or is nested more than ${maximumDepth} deep`
    )
  }
  // Whoever applied the RayJob or RayService was told; KubeRay, who makes this of it, can mend nothing.
  if (isMadeOfRayResource(resource) || isSameSpec(request)) return { answer: answer(request, []) }
  const resolved = resolveModes(requested)
  if ('problem' in resolved) {
    return unread(review, `its pods will be refused: NamespaceLabel: ${resolved.problem}`)
  }
  const { modes } = resolved
  const found = podsOfResource(resource)
  if ('problem' in found) return unread(review, `its pods cannot be foretold: ${found.problem}`)
  const foresight = foresee(
    found.pods,
    {
      ...modes,
      ...(clusterTls === undefined ? {} : { clusterTls }),
      namespace: request.namespace ?? ''
    },
    settings
  )
  const { podSecurity } = modes
  const note = podSecurity === 'audit' ? noteOn(foresight) : undefined
  return {
    answer: answer(request, adviceOn(foresight, podSecurity), auditTexts(modes, note)),
    outcome: outcomeOf(request, foresight)
  }
}

/** Said instead of what becomes of the pods. */
export function unread({ request }: AdmissionReview, why: string): Validation {
  return {
    answer: answer(request, [warning(why)]),
    outcome: { ...told(request), result: 'unread', ids: [] }
  }
}

function isSameSpec({ operation, object, oldObject }: AdmissionRequest): boolean {
  return (
    operation === 'UPDATE' &&
    isObject(object) &&
    isObject(oldObject) &&
    isDeepStrictEqual(essence(object.spec), essence(oldObject.spec))
  )
}

/** Without fields of no value (`resources: {}`): KubeRay writes them in, and the next `kubectl apply` takes them out. */
function essence(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(essence)
  if (!isObject(value)) return value
  const members = Object.entries(value).map(([key, member]) => [key, essence(member)] as const)
  return Object.fromEntries(members.filter(([, member]) => !isEmpty(member)))
}

function isEmpty(value: unknown): boolean {
  if (value === null) return true
  return typeof value === 'object' && Object.keys(value as object).length === 0
}

/** Without recursion: the nesting is the sender's choice. */
function isTooLarge(object: unknown): boolean {
  let level: unknown[] = isObject(object) ? [object.spec] : []
  let count = 0
  for (let depth = 0; level.length > 0; depth += 1) {
    const next: unknown[] = []
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue
      const children = Object.values(value)
      count += children.length
      if (count > maximumValues || depth > maximumDepth) return true
      for (const child of children) next.push(child)
    }
    level = next
  }
  return false
}

function auditTexts(modes: Modes, violations: string | undefined): Record<string, string> {
  return {
    modes: modesText(modes),
    ...(violations === undefined ? {} : { 'pod-security-violations': violations })
  }
}

function answer(
  { uid }: AdmissionRequest,
  warnings: string[],
  auditAnnotations?: Record<string, string>
): AdmissionAnswer {
  return {
    apiVersion,
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed: true,
      ...(warnings.length > 0 ? { warnings } : {}),
      ...(auditAnnotations === undefined ? {} : { auditAnnotations })
    }
  }
}

function outcomeOf(request: AdmissionRequest, { foreseen, leftOut }: Foresight): ValidationOutcome {
  const found = weights.find(weight => foreseen.some(each => each.weight === weight))
  const result = found ?? (leftOut > 0 ? 'unread' : 'nothing')
  const said = foreseen.filter(({ weight }) => weight !== 'mended')
  const ids = [...new Set(said.map(({ id }) => id))]
  return { ...told(request), result, ids }
}

function told({ uid, kind, namespace, dryRun }: AdmissionRequest) {
  return {
    kind: kind.kind,
    requestUid: uid,
    namespace: namespace ?? '',
    dryRun: dryRun === true
  }
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
