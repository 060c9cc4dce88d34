/**
 * `POST /dry-run` over HTTP: headers, query, the question to the worker, the shape of the reply.
 *
 * Looks at no byte of the body itself. Whatever content type is declared, the text decides whether it is JSON or YAML.
 */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { createTurns } from '../flow/turns.ts'
import type { Answer, Problem, Question } from './answer.ts'
import type { DryRunOptions } from './dry-run.ts'
import { readQuery } from './query.ts'
import {
  type DryRunError,
  type DryRunErrorCode,
  type DryRunQuery,
  dryRunErrors,
  dryRunPath,
  maximumBodyBytes,
  type Output
} from './schemas.ts'

export interface DryRunRouteOptions {
  ask(question: Question, signal: AbortSignal): Promise<Answer | 'TooCostly' | 'Overloaded'>
  settings(): Pick<DryRunOptions, 'settings' | 'clusterDomain'>
  observe(observation: DryRunObservation): void
}

/** One finished request; nothing of its body. */
export interface DryRunObservation {
  code: DryRunErrorCode | 'Answered'
  requestId: string
  durationSeconds: number
  bytes: number
  output?: Output
  /** Of an answered one. */
  pods?: number
}

export const contentTypes = [
  'application/json',
  'application/yaml',
  'application/x-yaml',
  'text/yaml',
  'text/x-yaml',
  'text/plain',
  // What `curl --data-binary` says if it is not told.
  'application/x-www-form-urlencoded'
]

const answerTypes: Record<Output, string> = {
  json: 'application/json; charset=utf-8',
  patch: 'application/x-ndjson; charset=utf-8',
  yaml: 'application/yaml; charset=utf-8',
  diff: 'text/plain; charset=utf-8'
}

/** From the whole body to the last byte of the reply: what bounds the memory of both. */
const requestsAtOnce = 16
/** Attack: readers that take their answer a byte at a time, or not at all, and so keep it in memory. */
const sendWithinMs = 30_000
const retryAfterSeconds = 5

export function dryRunRoutes({ ask, settings, observe }: DryRunRouteOptions) {
  const requests = createTurns({ atOnce: requestsAtOnce, waiting: 0 })

  return async function dryRunPlugin(app: FastifyInstance): Promise<void> {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser(
      contentTypes,
      { parseAs: 'buffer', bodyLimit: maximumBodyBytes },
      (_request, body, done) => done(null, body)
    )
    app.addHook('onRequest', async (request, reply) => {
      // Attack: a few bytes that unpack to gigabytes.
      const encoding = request.headers['content-encoding'] ?? 'identity'
      if (encoding.toLowerCase() === 'identity') return
      const message = 'expected a body without Content-Encoding; send it as it is'
      return refuse(request, reply.header('connection', 'close'), {
        code: 'ContentEncoding',
        message
      })
    })
    app.setErrorHandler((error: FastifyError, request, reply) => {
      const problem = unreadable(error.code)
      if (problem === undefined) throw error
      // The rest of the body is not read, so nothing can follow it.
      return refuse(request, reply.header('connection', 'close'), problem)
    })
    app.post(dryRunPath, { bodyLimit: maximumBodyBytes }, async (request, reply) => {
      const read = readQuery(request.query)
      if ('problem' in read) {
        return refuse(request, reply, { code: 'Query', message: read.problem })
      }
      const body = request.body as Buffer | null | undefined
      if (!body || body.length === 0) {
        const message = 'expected JSON or YAML as the body, found none'
        return refuse(request, reply, { code: 'Empty', message })
      }
      return answered(request, reply, body, read.query)
    })
  }

  async function answered(
    request: FastifyRequest,
    reply: FastifyReply,
    body: Buffer,
    { output = 'json', diff, profile, tls }: DryRunQuery
  ): Promise<FastifyReply> {
    const place = requests.place()
    const gone = new AbortController()
    reply.raw.once('close', () => {
      gone.abort()
      place.leave()
    })
    if (!(await place.enter())) return refuse(request, reply, overloaded)
    const question: Question = {
      // A copy: a small one lies in memory that others share.
      body: Uint8Array.from(body),
      output,
      diff: diff === 'true',
      options: {
        ...settings(),
        ...(profile === undefined ? {} : { podSecurity: profile }),
        ...(tls === undefined ? {} : { tls })
      }
    }
    const answer = await ask(question, gone.signal)
    if (answer === 'Overloaded') return refuse(request, reply, overloaded)
    if (answer === 'TooCostly') return refuse(request, reply, tooCostly)
    if ('problem' in answer) return refuse(request, reply, answer.problem)
    observe({ code: 'Answered', ...known(request, reply), output, pods: answer.pods })
    cutUnlessSent(request, reply)
    return withHeaders(reply).type(answerTypes[output]).send(Buffer.from(answer.body.buffer))
  }

  function refuse(request: FastifyRequest, reply: FastifyReply, problem: Problem): FastifyReply {
    const { code } = problem
    observe({ code, ...known(request, reply) })
    if (dryRunErrors[code] === 503) reply.header('retry-after', String(retryAfterSeconds))
    const error: DryRunError = { ...problem, requestId: request.id }
    return withHeaders(reply).code(dryRunErrors[code]).send(error)
  }
}

function known(request: FastifyRequest, reply: FastifyReply) {
  const { length: bytes } = (request.body as Buffer | null | undefined) ?? { length: 0 }
  return { requestId: request.id, durationSeconds: reply.elapsedTime / 1000, bytes }
}

const overloaded: Problem = {
  code: 'Overloaded',
  message: 'too many dry runs are under way; send it again in a moment'
}

const tooCostly: Problem = {
  code: 'TooCostly',
  message:
    'the documents take more time or memory to work out than is given to one request; send fewer or smaller ones'
}

/** What fastify found before the handler; undefined for what the server's own table answers. */
function unreadable(code: string): Problem | undefined {
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const message = `expected a body of at most ${maximumBodyBytes} bytes; send fewer documents at a time`
    return { code: 'BodyTooLarge', message }
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return { code: 'MediaType', message: `the body must be one of ${contentTypes.join(', ')}` }
  }
  return undefined
}

/** The text of others must not become a page of this origin, in whatever a browser takes it for. */
function withHeaders(reply: FastifyReply): FastifyReply {
  return reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
}

function cutUnlessSent(request: FastifyRequest, reply: FastifyReply): void {
  const timer = setTimeout(() => request.raw.socket.destroy(), sendWithinMs).unref()
  reply.raw.once('close', () => clearTimeout(timer))
}
