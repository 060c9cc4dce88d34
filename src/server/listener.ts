/**
 * One port: a fastify application over HTTPS (or plain HTTP for probes and metrics), with its limits.
 *
 * Decides how connections and broken requests are treated; never what a route answers. HTTP/1.1 alone: the API server
 * speaks nothing else to webhooks, and HTTP/2 has floods of its own (CVE-2023-44487).
 */
import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { Logger } from '../telemetry/logger.ts'
import { createBodies } from './bodies.ts'
import { watchConnections } from './connections.ts'
import { type ErrorReply, publicError, rawReply } from './errors.ts'
import { paceHandshakes } from './handshakes.ts'
import type { Limits } from './limits.ts'
import { listenOn } from './listen-on.ts'
import { collectRoutes } from './routes.ts'
import { createSeldom } from './seldom.ts'
import { type ServingPair, secureContext } from './tls.ts'

export interface ListenerOptions {
  /** As in the settings: `listen.NAME`. */
  name: string
  address: string
  port: number
  limits: Limits
  /** Absent for plain HTTP; `later`: given by `useServing` before `start`. */
  serving?: ServingPair | 'later'
  /** PEM. Who has no certificate of this CA for a client is turned away in the handshake. */
  clientCa?: string
  register(app: FastifyInstance): Promise<void> | void
  requestId(): string
  log: Logger
  onReply?(status: number): void
}

export interface Listener {
  readonly name: string
  /** Resolves once connections are taken. Throws {@link ListenError}. */
  start(): Promise<AddressInfo>
  /** For new handshakes; connections that are open go on. Throws where the pair cannot be used, and keeps the old one. */
  useServing(pair: ServingPair): void
  /** As {@link useServing}, where the listener began with a client CA. */
  useClientCa(pem: string): void
  /** The certificates in use, PEM, leaf first; undefined without TLS and before the first pair. */
  certificate(): string | undefined
  /** From now on every reply asks for the end of its connection. */
  drain(): void
  /** Takes no more connections and resolves when the last request is answered. */
  close(): Promise<void>
  /** Cuts every connection. */
  cut(): void
}

export async function createListener(options: ListenerOptions): Promise<Listener> {
  const { name, log, limits } = options
  const state = { draining: false }
  let server: Server | HttpsServer | undefined
  const app = fastify({
    serverFactory(handler) {
      server = createServer(options)
      server.on('request', handler)
      return server
    },
    bodyLimit: limits.bodyBytes,
    // fastify's defaults would edit what was sent.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
    onProtoPoisoning: 'error',
    exposeHeadRoutes: false,
    trustProxy: false,
    requestIdHeader: false,
    genReqId: options.requestId,
    logger: false,
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => {
      answerError(error, request, reply as FastifyReply, options)
      // No hook sees these.
      options.onReply?.(reply.statusCode)
    }
  })
  const routes = collectRoutes(app)
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, options))
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    const methods = routes.methodsOf(path)
    if (methods.length > 0) {
      reply.header('allow', methods.join(', '))
      return answer(request, reply, 405, {
        code: 'MethodNotAllowed',
        message: `This path takes ${methods.join(', ')}.`
      })
    }
    return answer(request, reply, 404, {
      code: 'NotFound',
      message: `There is no such path here. The paths are: ${routes.paths().join(', ')}.`
    })
  })
  const bodyCut = createSeldom(times => {
    log.warn({ listener: name, times }, 'bodies were cut: together they were too large')
  }, limits.tellEveryMs)
  const bodies = createBodies(limits.bodyBytesTogether, request => {
    bodyCut.say()
    cutBody(request)
  })
  app.addHook('preParsing', (request, _reply, payload, done) => {
    bodies.watch(request.raw)
    done(null, payload)
  })
  app.addHook('onSend', async (_request, reply) => {
    if (state.draining) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (_request, reply) => options.onReply?.(reply.statusCode))
  await app.register(async scope => options.register(scope))
  await app.ready()
  const running = server as Server | HttpsServer | undefined
  if (running === undefined) throw new Error('fastify has made no server')
  const refused = createSeldom(times => {
    log.warn({ listener: name, times }, 'connections were refused: as many as allowed are open')
  }, limits.tellEveryMs)
  const connections = watchConnections(running, {
    perAddress: limits.connectionsPerAddress,
    onRefused: refused.say
  })
  running.on('tlsClientError', (error: NodeJS.ErrnoException) => {
    log.debug({ listener: name, code: error.code }, 'a TLS handshake failed')
  })

  let { serving, clientCa } = options
  const use = (pair: typeof serving, ca: string | undefined) => {
    if (!('setSecureContext' in running) || pair === undefined)
      throw new Error(`the listener ${name} has no TLS`)
    if (pair !== 'later') running.setSecureContext(secureContext(pair, ca))
    serving = pair
    clientCa = ca
  }

  return {
    name,
    // As many as may be open: what finds no room is begun anew by the client's system, and cut after a minute.
    start: () => listenOn(running, { ...options, backlog: limits.maximumConnections }),
    useServing: pair => use(pair, clientCa),
    useClientCa(pem) {
      // The server was not told to ask for certificates, and would take everybody.
      if (clientCa === undefined) throw new Error(`the listener ${name} has no client CA`)
      use(serving, pem)
    },
    certificate: () => (typeof serving === 'object' ? serving.certificate : undefined),
    drain() {
      state.draining = true
    },
    async close() {
      state.draining = true
      const closed = new Promise<void>(resolve => {
        if (running.listening) running.close(() => resolve())
        else resolve()
      })
      running.closeIdleConnections()
      await closed
      await app.close()
    },
    cut: connections.cut
  }
}

function createServer({ limits, serving, clientCa }: ListenerOptions): Server | HttpsServer {
  const http = {
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    maxHeaderSize: limits.headerBytes,
    insecureHTTPParser: false
  }
  const server =
    serving === undefined
      ? createHttpServer(http)
      : createHttpsServer({
          ...http,
          ...(serving === 'later' ? {} : secureContext(serving, clientCa)),
          ...(clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: true }),
          ALPNProtocols: ['http/1.1'],
          handshakeTimeout: limits.handshakeTimeoutMs,
          pauseOnConnect: true
        })
  if (serving !== undefined) {
    const { handshakesPerTurn, handshakeTimeoutMs } = limits
    paceHandshakes(server, { perTurn: handshakesPerTurn, waitMs: handshakeTimeoutMs })
  }
  server.maxConnections = limits.maximumConnections
  server.maxRequestsPerSocket = limits.requestsPerConnection
  server.maxHeadersCount = 100
  return server
}

function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  // A handshake that failed or never came has nobody to answer to, and waiting for its end would keep the socket for ever.
  const isHttp = /^(HPE_|ERR_HTTP_)/.test(error.code ?? '')
  if (!isHttp || !socket.writable) socket.destroy()
  else socket.end(rawReply(error), () => socket.destroy())
}

/** Its rest is not read, so that nothing can follow it on this connection. */
function cutBody({ socket }: IncomingMessage): void {
  socket.end(rawReply({ code: 'BODIES_TOO_LARGE' }), () => socket.destroy())
}

function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { name, log }: ListenerOptions
): FastifyReply {
  const { status, code, text, fault } = publicError(error)
  const what = { listener: name, requestId: request.id, method: request.method, code }
  if (fault) log.error({ ...what, path: request.routeOptions?.url, err: error }, 'a request failed')
  else log.debug(what, 'a request was not valid')
  return answer(request, reply, status, { code, message: text })
}

function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  body: Omit<ErrorReply, 'requestId'>
): FastifyReply {
  return reply.code(status).send({ ...body, requestId: request.id } satisfies ErrorReply)
}
