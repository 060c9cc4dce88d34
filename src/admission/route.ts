/**
 * `POST /mutate[/:podSecurity[/:tls]]` and `POST /validate[/…]` as a fastify plugin: body, call, reply.
 *
 * A body that cannot be answered gets a `Status` object, the one form of an error that the API server passes on to people.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { podSecurityModes, tlsModes } from '../contract/pod.ts'
import { type Admission, type AdmissionOutcome, needsLabels, refuseRequest } from './admit.ts'
import { type Body, readBody } from './body.ts'
import {
  isPodSecurityMode,
  isTlsMode,
  modesNeedLabels,
  type RequestedModes,
  resolveModes
} from './modes.ts'
import { type AdmissionReview, decodeReview } from './review.ts'
import { isOfRay, unread, type Validation, type ValidationOutcome } from './validate.ts'

export interface AdmissionRoutesOptions {
  admit(review: AdmissionReview, requested: RequestedModes): Admission
  /** Undefined for a namespace that is not known (yet). */
  labelsOf(namespace: string): Labels | undefined
  /** Waits a moment for a namespace that is not known; undefined when it stays so. */
  whenKnown(namespace: string): Promise<Labels | undefined>
  /** False where live pods of a RayCluster decide and are not known now. */
  knowsClusters(review: AdmissionReview): boolean
  observe(outcome: AdmissionOutcome): void
  validate(review: AdmissionReview, requested: RequestedModes): Validation
  observeValidation(outcome: ValidationOutcome): void
}

type Labels = Readonly<Record<string, string>>

/** An object of 3 MiB, the API server's limit, comes with its old state and managed fields. */
const bodyLimit = 7 * 1024 * 1024

export async function admissionRoutes(
  app: FastifyInstance,
  options: AdmissionRoutesOptions
): Promise<void> {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string', bodyLimit },
    (_request, text, done) => {
      try {
        done(null, readBody(text as string))
      } catch (cause) {
        const problem =
          cause instanceof SyntaxError ? 'The body is not JSON.' : 'The body cannot be read.'
        done(Object.assign(new Error(problem, { cause }), { statusCode: 400 }))
      }
    }
  )
  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
    // A fault of ours is for the server's own table.
    if (error.statusCode === undefined || error.statusCode >= 500) throw error
    return sendStatus(reply, error.statusCode, error.message)
  })

  const mutating = (reply: FastifyReply, body: Body | undefined, requested: RequestedModes) =>
    mutated(options, reply, body, requested)
  const validating = (reply: FastifyReply, body: Body | undefined, requested: RequestedModes) =>
    validated(options, reply, body, requested)
  for (const [path, answer] of [
    ['/mutate', mutating],
    ['/validate', validating]
  ] as const) {
    app.post(path, { bodyLimit }, (request, reply) => answer(reply, request.body as Body, {}))
    app.post<{ Params: { podSecurity: string; tls?: string } }>(
      `${path}/:podSecurity/:tls?`,
      { bodyLimit },
      (request, reply) => {
        const { podSecurity, tls } = request.params
        if (!isPodSecurityMode(podSecurity)) {
          return unknownSegment(reply, path, podSecurity, podSecurityModes)
        }
        if (tls !== undefined && !isTlsMode(tls)) return unknownSegment(reply, path, tls, tlsModes)
        const requested: RequestedModes = tls === undefined ? { podSecurity } : { podSecurity, tls }
        return answer(reply, request.body as Body, requested)
      }
    )
  }
}

function mutated(
  options: AdmissionRoutesOptions,
  reply: FastifyReply,
  body: Body | undefined,
  requested: RequestedModes
): FastifyReply | Promise<FastifyReply> {
  const decoded = decodeReview(body?.value)
  if ('problem' in decoded) return sendStatus(reply, 400, decoded.problem)
  const { review } = decoded
  const namespace = review.request.namespace ?? ''
  const labels = options.labelsOf(namespace)
  if (labels !== undefined || !needsLabels(review, requested)) {
    return decided(options, reply, review, body, withLabels(requested, labels))
  }
  return options
    .whenKnown(namespace)
    .then(shown =>
      shown === undefined
        ? sendStatus(reply, 503, unknownNamespace)
        : decided(options, reply, review, body, withLabels(requested, shown))
    )
}

/**
 * Attack, or bad luck: pods that come together with their namespace, before the watch has shown its labels. The default
 * modes would be weaker than what an administrator wrote, and nothing corrects a running pod.
 */
const unknownNamespace =
  'The labels of the namespace are not known to Rayguard (yet). Nothing is to be done: whoever creates the pod tries again.'

/** A pod that is answered by what was seen hours ago may be split from its cluster. */
const unknownClusters =
  'The running Ray clusters are not known to Rayguard (now). Nothing is to be done: whoever creates the pod tries again.'

function decided(
  { admit, observe, ...options }: AdmissionRoutesOptions,
  reply: FastifyReply,
  review: AdmissionReview,
  body: Body | undefined,
  requested: RequestedModes
): FastifyReply {
  if (areClustersMissed(options, review, requested)) {
    return sendStatus(reply, 503, unknownClusters)
  }
  const admission = body?.forbiddenKey
    ? refuseRequest(
        review,
        'ForbiddenKey',
        `The request has a key "__proto__" at ${body.forbiddenKey}, which is never valid; remove it.`
      )
    : admit(review, requested)
  observe(admission.outcome)
  return reply.send(admission.answer)
}

/** Without TLS they decide a notice and nothing else. */
function areClustersMissed(
  { knowsClusters }: Pick<AdmissionRoutesOptions, 'knowsClusters'>,
  review: AdmissionReview,
  requested: RequestedModes
): boolean {
  const resolved = resolveModes(requested)
  return 'modes' in resolved && resolved.modes.tls !== 'no-tls' && !knowsClusters(review)
}

/** Only advice is given, so what stands in its way is said and nothing is held up by it. */
async function validated(
  { labelsOf, whenKnown, validate, observeValidation, ...options }: AdmissionRoutesOptions,
  reply: FastifyReply,
  body: Body | undefined,
  requested: RequestedModes
): Promise<FastifyReply> {
  const decoded = decodeReview(body?.value)
  if ('problem' in decoded) return sendStatus(reply, 400, decoded.problem)
  const { review } = decoded
  const namespace = review.request.namespace ?? ''
  const isRay = isOfRay(review)
  const isAsked = isRay && modesNeedLabels(requested)
  const labels = labelsOf(namespace) ?? (isAsked ? await whenKnown(namespace) : undefined)
  const known = withLabels(requested, labels)
  const forbiddenKey = isRay ? body?.forbiddenKey : undefined
  const { answer, outcome } = forbiddenKey
    ? unread(review, `it has a key "__proto__" at ${forbiddenKey}, which is never valid`)
    : isAsked && labels === undefined
      ? unread(review, 'nothing was looked at: the labels of the namespace are not known yet')
      : isRay && areClustersMissed(options, review, known)
        ? unread(review, 'nothing was looked at: the running Ray clusters are not known now')
        : validate(review, known)
  if (outcome) observeValidation(outcome)
  return reply.send(answer)
}

function withLabels(requested: RequestedModes, labels: Labels | undefined): RequestedModes {
  return labels === undefined ? requested : { ...requested, namespaceLabels: labels }
}

function unknownSegment(
  reply: FastifyReply,
  path: string,
  found: string,
  known: readonly string[]
) {
  const text = JSON.stringify(found.slice(0, 63))
  return sendStatus(
    reply,
    404,
    `The path is ${path}, then one of ${podSecurityModes.join(', ')}, then one of ${tlsModes.join(', ')}; ` +
      `${text} is none of ${known.join(', ')}.`
  )
}

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
function sendStatus(reply: FastifyReply, code: number, message: string): FastifyReply {
  const reason = reasons.get(code) ?? 'BadRequest'
  // The API server keeps its connections: over a new one the Service may lead it to a replica that knows.
  if (code === 503) reply.header('connection', 'close')
  return reply
    .code(code)
    .send({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code })
}

const reasons = new Map([
  [404, 'NotFound'],
  [503, 'ServiceUnavailable']
])
