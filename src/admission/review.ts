/**
 * AdmissionReview as the API server sends it, and its reading from JSON.
 *
 * Decides whether a body is a request of `admission.k8s.io/v1` that can be answered; never what becomes of it
 * (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request).
 */

export const apiVersion = 'admission.k8s.io/v1'

export interface GroupVersionKind {
  group?: string
  version?: string
  kind: string
}

export interface AdmissionRequest {
  /** Of the request, not of the object. */
  uid: string
  kind: GroupVersionKind
  resource?: { group?: string; version?: string; resource: string }
  subResource?: string
  operation: string
  namespace?: string
  name?: string
  userInfo?: { username?: string; groups?: string[] | null }
  dryRun?: boolean | null
  /** Not looked at before the injection checks its shape; null for DELETE. */
  object?: unknown
  oldObject?: unknown
}

export interface AdmissionReview {
  apiVersion: typeof apiVersion
  kind: 'AdmissionReview'
  request: AdmissionRequest
}

export interface AdmissionResponse {
  uid: string
  allowed: boolean
  status?: { code: number; reason: string; message: string }
  patchType?: 'JSONPatch'
  /** Base64. */
  patch?: string
  warnings?: string[]
  auditAnnotations?: Record<string, string>
}

export interface AdmissionAnswer {
  apiVersion: typeof apiVersion
  kind: 'AdmissionReview'
  response: AdmissionResponse
}

type Members = Record<string, unknown>

/** `problem`: what was expected and what was found, for whoever sent the body. */
export function decodeReview(body: unknown): { review: AdmissionReview } | { problem: string } {
  if (!isObject(body) || body.kind !== 'AdmissionReview') {
    return { problem: `An AdmissionReview was expected, found ${describe(body)}.` }
  }
  if (body.apiVersion !== apiVersion) {
    return {
      problem: `An AdmissionReview of ${apiVersion} was expected, found apiVersion ${show(body.apiVersion)}.`
    }
  }
  const problem = requestProblem(body.request)
  return problem === undefined ? { review: body as unknown as AdmissionReview } : { problem }
}

function requestProblem(request: unknown): string | undefined {
  if (!isObject(request)) return expected('request', 'an object', request)
  if (typeof request.uid !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(request.uid)) {
    return expected('request.uid', 'a UID', request.uid)
  }
  if (!isObject(request.kind) || typeof request.kind.kind !== 'string') {
    return expected('request.kind', 'an object with a kind', request.kind)
  }
  if (typeof request.operation !== 'string') {
    return expected('request.operation', 'a string', request.operation)
  }
  for (const field of ['namespace', 'name', 'subResource'] as const) {
    if (request[field] !== undefined && typeof request[field] !== 'string') {
      return expected(`request.${field}`, 'a string', request[field])
    }
  }
  const { userInfo } = request
  const groups = isObject(userInfo) ? (userInfo.groups ?? []) : userInfo === undefined ? [] : null
  return Array.isArray(groups)
    ? undefined
    : expected('request.userInfo', 'an object with a list of groups', userInfo)
}

function expected(path: string, what: string, found: unknown): string {
  return `${path} must be ${what}, found ${show(found)}.`
}

function describe(body: unknown): string {
  return isObject(body) ? `kind ${show(body.kind)}` : show(body)
}

/** A value of the body is shown only where it is short and plain. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)
  }
  return typeof value === 'object' ? 'an object' : String(value)
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
