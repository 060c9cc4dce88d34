/**
 * `POST /mutate[/:podSecurity[/:tls]]` as a fastify plugin: body, call, reply.
 *
 * A body that cannot be answered gets a `Status` object, the one form of an error that the API server passes on to people.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { podSecurityModes, tlsModes } from '../contract/pod.ts'
import { type Admission, type AdmissionOutcome, refuseRequest } from './admit.ts'
import { type Body, readBody } from './body.ts'
import { isPodSecurityMode, isTlsMode, type RequestedModes } from './modes.ts'
import { type AdmissionReview, decodeReview } from './review.ts'

export interface AdmissionRoutesOptions {
  admit(review: AdmissionReview, requested: RequestedModes): Admission
  /** Undefined for a namespace that is not known (yet): the defaults hold. */
  labelsOf(namespace: string): Readonly<Record<string, string>> | undefined
  observe(outcome: AdmissionOutcome): void
}

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

  app.post('/mutate', { bodyLimit }, (request, reply) =>
    reply.send(answer(options, reply, request.body as Body, {}))
  )
  app.post<{ Params: { podSecurity: string; tls?: string } }>(
    '/mutate/:podSecurity/:tls?',
    { bodyLimit },
    (request, reply) => {
      const { podSecurity, tls } = request.params
      if (!isPodSecurityMode(podSecurity)) {
        return unknownSegment(reply, podSecurity, podSecurityModes)
      }
      if (tls !== undefined && !isTlsMode(tls)) return unknownSegment(reply, tls, tlsModes)
      const requested: RequestedModes = tls === undefined ? { podSecurity } : { podSecurity, tls }
      return reply.send(answer(options, reply, request.body as Body, requested))
    }
  )
}

function answer(
  { admit, labelsOf, observe }: AdmissionRoutesOptions,
  reply: FastifyReply,
  body: Body | undefined,
  requested: RequestedModes
): unknown {
  const decoded = decodeReview(body?.value)
  if ('problem' in decoded) return status(reply, 400, decoded.problem)
  const { review } = decoded
  const labels = labelsOf(review.request.namespace ?? '')
  const admission = body?.forbiddenKey
    ? refuseRequest(
        review,
        'ForbiddenKey',
        `The request has a key "__proto__" at ${body.forbiddenKey}, which is never valid; remove it.`
      )
    : admit(review, labels === undefined ? requested : { ...requested, namespaceLabels: labels })
  observe(admission.outcome)
  return admission.answer
}

function unknownSegment(reply: FastifyReply, found: string, known: readonly string[]) {
  const text = JSON.stringify(found.slice(0, 63))
  return sendStatus(
    reply,
    404,
    `The path is /mutate, then one of ${podSecurityModes.join(', ')}, then one of ${tlsModes.join(', ')}; ` +
      `${text} is none of ${known.join(', ')}.`
  )
}

function sendStatus(reply: FastifyReply, code: number, message: string) {
  return reply.send(status(reply, code, message))
}

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
function status(reply: FastifyReply, code: number, message: string) {
  reply.code(code)
  const reason = code === 404 ? 'NotFound' : 'BadRequest'
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code }
}
