/**
 * The cluster that test/cluster/suite brought up: its API over HTTPS, as the administrator or as anyone with a token.
 *
 * Speaks to the API server by itself and not through src/kubernetes, so that it can judge what that room did.
 */
import { readFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse } from 'yaml'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'

/** Why tests that need a cluster cannot run; `false` when they can. */
export const skip: string | false =
  process.env.RAYGUARD_TEST_SKIP ||
  (process.env.KUBECONFIG ? false : 'run these by npm run test:api or npm run test:e2e')

export interface ClusterApi {
  server: string
  ca: string
  get<T extends object>(path: string): Promise<T>
  /** `undefined` on 404. */
  find<T extends object>(path: string): Promise<T | undefined>
  list<T extends KubernetesObject>(path: string): Promise<T[]>
  create<T extends object>(path: string, body: object): Promise<T>
  replace<T extends object>(path: string, body: object): Promise<T>
  /** JSON merge patch. */
  patch<T extends object>(path: string, body: object): Promise<T>
  delete(path: string): Promise<void>
  /** The same API with another identity. */
  as(token: string): ClusterApi
  close(): void
}

export class ApiFailure extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.name = 'ApiFailure'
    this.code = code
  }
}

export async function connect(): Promise<ClusterApi> {
  const config = parse(await readFile(process.env.KUBECONFIG ?? '', 'utf8'))
  const context = config.contexts.find(
    (each: { name: string }) => each.name === config['current-context']
  ).context
  const { cluster } = config.clusters.find(
    (each: { name: string }) => each.name === context.cluster
  )
  const { user } = config.users.find((each: { name: string }) => each.name === context.user)
  const material = async (holder: Record<string, string>, key: string) => {
    const data = holder[`${key}-data`]
    if (data !== undefined) return Buffer.from(data, 'base64').toString()
    return holder[key] === undefined ? undefined : readFile(holder[key], 'utf8')
  }
  const ca = (await material(cluster, 'certificate-authority')) ?? ''
  const certificate = await material(user, 'client-certificate')
  const key = await material(user, 'client-key')
  return apiOf(cluster.server, ca, {
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
    ...(user.token === undefined ? {} : { token: user.token })
  })
}

function apiOf(
  server: string,
  ca: string,
  identity: { cert?: string; key?: string; token?: string }
): ClusterApi {
  const { token, ...tls } = identity
  const agent = new Agent({ keepAlive: true, maxSockets: 20, ca, ...tls })

  function call<T>(method: string, path: string, body?: object, type?: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body)
      const outgoing = request(
        new URL(path, server),
        {
          agent,
          method,
          headers: {
            ...(text === undefined ? {} : { 'content-type': type ?? 'application/json' }),
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` })
          }
        },
        response => {
          const chunks: Buffer[] = []
          response.on('data', chunk => chunks.push(chunk))
          response.once('error', reject)
          response.once('end', () => {
            const answer = Buffer.concat(chunks).toString()
            const code = response.statusCode ?? 0
            if (code < 300) resolve(JSON.parse(answer))
            else reject(new ApiFailure(code, `${method} ${path}: ${code} ${answer.slice(0, 2000)}`))
          })
        }
      )
      outgoing.once('error', reject)
      outgoing.end(text)
    })
  }

  const unlessMissing = (error: unknown) => {
    if (error instanceof ApiFailure && error.code === 404) return undefined
    throw error
  }

  return {
    server,
    ca,
    get: path => call('GET', path),
    find: <T extends object>(path: string) => call<T>('GET', path).catch(unlessMissing),
    list: async <T extends KubernetesObject>(path: string) =>
      (await call<{ items: T[] }>('GET', path)).items,
    create: (path, body) => call('POST', path, body),
    replace: (path, body) => call('PUT', path, body),
    patch: (path, body) => call('PATCH', path, body, 'application/merge-patch+json'),
    delete: async path => {
      await call('DELETE', path).catch(unlessMissing)
    },
    as: other => apiOf(server, ca, { token: other }),
    close: () => agent.destroy()
  }
}

/**
 * The first answer that is not `undefined` or `false`. Asks again and again, because another process has to come to it;
 * the limit only ends a run that has failed.
 */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  limitMs = 120_000
): Promise<T> {
  const until = Date.now() + limitMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (Date.now() > until) throw new Error(`${what} did not come about within ${limitMs / 1000} s`)
    await sleep(100)
  }
}

/** As KubeRay does: what fails is tried again. The API server or a webhook may be away for a moment. */
export async function retried<T>(ask: () => Promise<T>): Promise<T> {
  const { answer } = await eventually('the API server takes it', () =>
    ask().then(
      answer => ({ answer }),
      () => undefined
    )
  )
  return answer
}

/** A namespace of its own for a test, with its service account ready. */
export async function makeNamespace(
  api: ClusterApi,
  name: string,
  labels: Record<string, string> = {}
): Promise<string> {
  await api.create('/api/v1/namespaces', { metadata: { name, labels } })
  await eventually('the default service account', () =>
    api.find(`/api/v1/namespaces/${name}/serviceaccounts/default`)
  )
  return name
}

/** A token of the service account, for the API itself unless an audience is given; bound to a pod if one is given. */
export async function makeToken(
  api: ClusterApi,
  namespace: string,
  serviceAccount: string,
  options: { audience?: string; pod?: KubernetesObject } = {}
): Promise<string> {
  const { audience, pod } = options
  const answer = await api.create<{ status: { token: string } }>(
    `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
    {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        ...(audience === undefined ? {} : { audiences: [audience] }),
        expirationSeconds: 3600,
        ...(pod === undefined
          ? {}
          : {
              boundObjectRef: {
                apiVersion: 'v1',
                kind: 'Pod',
                name: pod.metadata.name,
                uid: pod.metadata.uid
              }
            })
      }
    }
  )
  return answer.status.token
}

/** Creates objects of any kind that these tests use, where their kind belongs. */
export async function apply(
  api: ClusterApi,
  namespace: string,
  objects: KubernetesObject[]
): Promise<void> {
  for (const object of objects) await api.create(collectionOf(object, namespace), object)
}

function collectionOf({ apiVersion = 'v1', kind = '' }: KubernetesObject, namespace: string) {
  const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const plural = kind.toLowerCase().replace(/y$/, 'ie').concat('s')
  const scope = /^(ClusterRole|ClusterRoleBinding|Namespace|.*WebhookConfiguration)$/.test(kind)
    ? ''
    : `/namespaces/${namespace}`
  return `${group}${scope}/${plural}`
}
