/**
 * A stand-in for the Kubernetes API: a real HTTPS server with the few resources that Rayguard reads, real watches and
 * real signed tokens bound to pods. For the demonstration and for tests.
 *
 * It is not a Kubernetes API server and says so in every answer (`Server`). It validates nothing that is put into it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { KubernetesObject, Pod } from '../kubernetes/objects.ts'
import { createStore, resources, type Store, type Target } from './stand-in-store.ts'
import { createTokens, type TokenOptions, type Tokens } from './stand-in-tokens.ts'
import { createWatchSwitch, serveWatch, type WatchSwitch } from './stand-in-watch.ts'

export interface StandInOptions {
  /** PEM of the server's own pair. */
  certificate: string
  privateKey: string
  /** The bearer token that clients of this API must show. */
  clientToken: string
  /** Milliseconds since the epoch. */
  clock: () => number
}

export interface StandInRequest {
  method: string
  path: string
  query: URLSearchParams
  body: unknown
}

/** What happens instead of, or before, the answer. */
export interface Fault {
  delayMs?: number
  /** Waits for it before answering. */
  until?: Promise<unknown>
  /** Cuts the connection without an answer. */
  reset?: boolean
  status?: number
  body?: object | string
  headers?: Record<string, string>
}

export interface StandIn {
  readonly store: Store
  readonly tokens: Tokens
  /** A token as TokenRequest and projected volumes give it. */
  issueToken(pod: Pod, options?: TokenOptions): string
  /** Creates or replaces; fills in UID and resourceVersion; answers the stored object. */
  put<T extends KubernetesObject>(object: T): T
  remove(object: KubernetesObject): void
  /** Every request passes here first; `undefined` lets it through. */
  interfere(fault: ((request: StandInRequest) => Fault | undefined) | undefined): void
  /** Rights that this program is told not to have: `verb group/resource`, the core group as `verb /resource`. */
  deny(...rights: string[]): void
  /** All requests so far, as `METHOD path`. */
  readonly requests: string[]
  readonly connections: number
  readonly watches: WatchSwitch
  listen(options?: { host?: string; port?: number }): Promise<string>
  close(): Promise<void>
}

export const standInName = 'rayguard-stand-in (not a Kubernetes API server)'

export function createStandIn(options: StandInOptions): StandIn {
  const store = createStore(options.clock)
  const tokens = createTokens({ store, clock: options.clock })
  const watches = createWatchSwitch()
  const requests: string[] = []
  const denied = new Set<string>()
  let connections = 0
  let fault: ((request: StandInRequest) => Fault | undefined) | undefined

  const server = createServer(
    {
      cert: options.certificate,
      key: options.privateKey,
      minVersion: 'TLSv1.2',
      keepAliveTimeout: 90_000
    },
    (request, response) => {
      serve(request, response).catch(error => response.destroy(error))
    }
  )
  server.on('secureConnection', () => {
    connections += 1
  })

  return {
    store,
    tokens,
    watches,
    requests,
    get connections() {
      return connections
    },
    issueToken: tokens.issue,
    put: store.put,
    remove: store.remove,
    interfere(next) {
      fault = next
    },
    deny(...rights) {
      for (const right of rights) denied.add(right)
    },
    async listen({ host = '127.0.0.1', port = 0 } = {}) {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(port, host, resolve)
      })
      return `https://${host}:${(server.address() as AddressInfo).port}`
    },
    async close() {
      watches.dropAll()
      await new Promise(resolve => {
        server.close(resolve)
        server.closeAllConnections()
      })
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'https://stand-in')
    const asked = {
      method: request.method ?? '',
      path: pathname,
      query: searchParams,
      body: await bodyOf(request)
    }
    requests.push(`${asked.method} ${asked.path}`)
    response.setHeader('server', standInName)
    const trouble = fault?.(asked) ?? {}
    if (trouble.delayMs) await new Promise(resolve => setTimeout(resolve, trouble.delayMs))
    await trouble.until
    if (trouble.reset) request.socket.destroy()
    else if (trouble.status !== undefined)
      reply(response, trouble.status, trouble.body ?? status(trouble.status), trouble.headers)
    else if (request.headers.authorization !== `Bearer ${options.clientToken}`)
      reply(response, 401, status(401, 'Unauthorized'))
    else if (asked.query.get('watch') === 'true') watch(asked, response)
    else {
      const answer = (asked.method === 'GET' ? read : isReview(asked) ? review : write)(asked)
      reply(response, answer.code, answer.body)
    }
  }

  function watch(asked: StandInRequest, response: ServerResponse): void {
    const target = targetOf(asked.path)
    if (target) serveWatch(store, target, asked.query, response, watches)
    else reply(response, 404, status(404, 'page not found'))
  }

  function read({ method, path, query }: StandInRequest): Answer {
    const target = targetOf(path)
    if (!target || method !== 'GET') return { code: 404, body: status(404, 'page not found') }
    if (target.name === undefined) {
      const page = store.list(target, query)
      return page === 'expired' ? { code: 410, body: status(410) } : { code: 200, body: page }
    }
    const found = store.get(target)
    return found
      ? { code: 200, body: found }
      : { code: 404, body: status(404, `"${target.name}" not found`) }
  }

  /** Create; JSON merge patch, replacement (of the version that was read) and removal of what exists. */
  function write({ method, path, body }: StandInRequest): Answer {
    const target = targetOf(path)
    const sent = body as KubernetesObject
    if (!target) return { code: 404, body: status(404, 'page not found') }
    const { kind, apiVersion, namespace } = target
    const name = target.name ?? sent.metadata?.name
    const found = store.get({ ...target, name })
    if (method === 'POST') {
      if (found) return { code: 409, body: status(409, `"${name}" already exists`) }
      const metadata = { ...sent.metadata, ...(namespace === undefined ? {} : { namespace }) }
      const object = { ...sent, kind, apiVersion, metadata }
      if (kind === 'CertificateSigningRequest')
        Object.assign(object, { spec: { ...specOf(sent), username: clientName } })
      return { code: 201, body: store.put(object) }
    }
    if (!/^(PATCH|PUT|DELETE)$/.test(method)) return { code: 405, body: status(405) }
    if (!found) return { code: 404, body: status(404, `"${name}" not found`) }
    if (method === 'DELETE') {
      store.remove(found)
      return { code: 200, body: found }
    }
    if (method === 'PUT') {
      const stale = sent.metadata.resourceVersion !== found.metadata.resourceVersion
      return stale
        ? { code: 409, body: status(409, 'the object has been modified') }
        : { code: 200, body: store.put({ ...sent, kind, apiVersion }) }
    }
    return { code: 200, body: store.put(merged(found, sent) as KubernetesObject) }
  }

  function review({ path, body }: StandInRequest): Answer {
    const { spec } = (body ?? {}) as { spec?: Record<string, unknown> }
    if (path === '/apis/authentication.k8s.io/v1/tokenreviews') {
      const { token = '', audiences = [] } = (spec ?? {}) as {
        token?: string
        audiences?: string[]
      }
      const answered = tokens.review(token, audiences)
      return { code: 201, body: { ...(body as object), status: answered } }
    }
    if (path === '/apis/authentication.k8s.io/v1/selfsubjectreviews') {
      return {
        code: 201,
        body: { ...(body as object), status: { userInfo: { username: clientName } } }
      }
    }
    if (/^\/apis\/authorization\.k8s\.io\/v1\/(?:self)?subjectaccessreviews$/.test(path)) {
      const right = (spec?.resourceAttributes ?? {}) as Record<string, string>
      const allowed = !denied.has(`${right.verb} ${right.group ?? ''}/${right.resource}`)
      return { code: 201, body: { ...(body as object), status: { allowed } } }
    }
    return { code: 404, body: status(404, 'page not found') }
  }
}

/** Who asks, whatever token it has: there is one client. */
const clientName = 'system:serviceaccount:rayguard-system:rayguard-enrollment'

function specOf(object: KubernetesObject): object {
  return (object as { spec?: object }).spec ?? {}
}

function isReview({ path }: StandInRequest): boolean {
  return /reviews$/.test(path)
}

/** RFC 7386. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const result = { ...(target as Record<string, unknown> | undefined) }
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = merged(result[key], value)
  }
  return result
}

interface Answer {
  code: number
  body: object
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'))
}

function reply(
  response: ServerResponse,
  code: number,
  body: object | string,
  headers: Record<string, string> = {}
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}

export function status(code: number, message = `status ${code}`): object {
  return { apiVersion: 'v1', kind: 'Status', status: 'Failure', code, message }
}

/** `/api/v1/…` or `/apis/GROUP/VERSION/…`, then `[namespaces/NAMESPACE/]RESOURCE[/NAME]`. */
function targetOf(path: string): Target | undefined {
  const [, version, rest] = /^\/(?:api|apis)\/((?:[^/]+\/)?v\d[^/]*)\/(.+)$/.exec(path) ?? []
  if (version === undefined || rest === undefined) return undefined
  const segments = rest.split('/').map(decodeURIComponent)
  const namespace = segments[0] === 'namespaces' && segments.length > 2 ? segments[1] : undefined
  const [resource, name] = namespace === undefined ? segments : segments.slice(2)
  const known = resources.find(
    entry => entry.resource === resource && entry.versions.includes(version)
  )
  return known && { kind: known.kind, apiVersion: version, namespace, name }
}
