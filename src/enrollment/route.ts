/**
 * `POST /v1/certificates` over HTTP: the shape of the request, the call, the shape of the reply.
 *
 * Decides nothing about identity. Forwarding headers are never read. Who is refused learns a code and a fixed sentence;
 * the reason stays with the caller of `observe`, under the same request id.
 */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  type CertificateRequest,
  certificatesPath,
  maximumBodyBytes,
  type NamesRequiredResponse,
  type RefusalCode,
  type RefusalResponse,
  refusals
} from '../contract/enrollment.ts'
import { refuse } from '../identity/refusal.ts'
import type { CertificateNames } from '../x509/names.ts'
import type { Enrollment } from './enroll.ts'
import { type EnrollmentOutcome, retryAfter } from './outcome.ts'

export interface EnrollmentRouteOptions {
  enroll: Enrollment['enroll']
  observe(observation: EnrollmentObservation): void
}

/** One finished request. `code` is `Issued` or that of the refusal. */
export interface EnrollmentObservation {
  code: RefusalCode | 'Issued'
  outcome: EnrollmentOutcome
  requestId: string
  sourceAddress: string | undefined
}

const longestRequest = 8 * 1024
const mostAddresses = 4
/** The longest text of an IPv6 address. */
const longestAddress = 45

export function enrollmentRoutes({ enroll, observe }: EnrollmentRouteOptions) {
  return async function enrollmentPlugin(app: FastifyInstance): Promise<void> {
    app.removeContentTypeParser('text/plain')
    // Whatever is wrong before the handler (size, JSON, `__proto__`, content type) is one refusal to the client.
    app.setErrorHandler((error: FastifyError, request, reply) => {
      if (error.statusCode === undefined || error.statusCode >= 500) throw error
      const outcome = { ...refuse('BadRequest', error.code ?? error.name), ...nothingKnown }
      // The rest of a body over the limit is not read, so nothing can follow it.
      return answer(request, reply.header('connection', 'close'), outcome)
    })
    app.post(certificatesPath, { bodyLimit: maximumBodyBytes }, async (request, reply) => {
      const asked = certificateRequest(request.body)
      const outcome =
        asked === undefined
          ? { ...refuse('BadRequest', 'the body has another shape'), ...nothingKnown }
          : await enroll({
              ...asked,
              authorization: request.headers.authorization,
              sourceAddress: request.raw.socket.remoteAddress,
              signal: untilGone(reply)
            })
      return answer(request, reply, outcome)
    })
  }

  function answer(request: FastifyRequest, reply: FastifyReply, outcome: EnrollmentOutcome) {
    const requestId = request.id
    observe({
      code: outcome.allowed ? 'Issued' : outcome.code,
      outcome,
      requestId,
      sourceAddress: request.raw.socket.remoteAddress
    })
    reply.header('cache-control', 'no-store')
    if (outcome.allowed) return reply.code(201).send(outcome.response)
    const { status, text } = refusals[outcome.code]
    const seconds = status === 503 ? retryAfter(outcome) : undefined
    if (seconds !== undefined) reply.header('retry-after', String(seconds))
    if (status === 401) reply.header('www-authenticate', 'Bearer')
    const body: RefusalResponse = { code: outcome.code, message: text, requestId }
    return reply.code(status).send(outcome.names ? withNames(body, outcome.names) : body)
  }
}

function withNames(body: RefusalResponse, names: CertificateNames): NamesRequiredResponse {
  return { ...body, code: 'NamesRequired', ...names }
}

const nothingKnown = { facts: {}, durationSeconds: 0 }

/** By hand and not by a schema: the server's validator may be set to change bodies, and this one must never. */
function certificateRequest(body: unknown): CertificateRequest | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined
  const { csr, podIPs, ...rest } = body as Record<string, unknown>
  if (Object.keys(rest).length > 0) return undefined
  if (typeof csr !== 'string' || csr.length > longestRequest) return undefined
  if (!Array.isArray(podIPs) || podIPs.length < 1 || podIPs.length > mostAddresses) return undefined
  const fits = (address: unknown) => typeof address === 'string' && address.length <= longestAddress
  return podIPs.every(fits) ? { csr, podIPs: podIPs as string[] } : undefined
}

function untilGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  // It closes as well when all has been sent, and nobody waits any more: to abort makes an exception with its stack.
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort()
  })
  return gone.signal
}
