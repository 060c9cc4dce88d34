/**
 * Where the Kubernetes API is, whom it must prove to be, and as whom we speak.
 *
 * Inside a cluster by hand (three files), outside by a kubeconfig file through the official library, which is loaded
 * only then. Never speaks to a server that it cannot verify.
 */
import { readFile } from 'node:fs/promises'
import type { RequestOptions } from 'node:https'
import { join } from 'node:path'
import { KubernetesError } from './error.ts'

export interface Credentials {
  headers: Record<string, string>
  /** PEM, where the user of the kubeconfig has a client certificate. */
  cert?: string
  key?: string
}

export interface Connection {
  /** Base URL. Its path, where it has one, stands before that of each call. */
  server: string
  /** URL of the HTTP proxy by which it is reached. */
  proxy?: string
  /** PEM; without it the system's authorities. */
  ca?: string
  /** The name that the server's certificate must have, where it is not the host of `server`. */
  servername?: string
  /** `fresh`: the API did not accept the last ones. Throws {@link KubernetesError} `Credentials`. */
  credentials(fresh?: boolean): Promise<Credentials>
}

export const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount'

export interface InClusterOptions {
  /** `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`. */
  host: string
  port: string
  directory?: string
  /** Milliseconds. */
  clock: () => number
}

/** How long a token is used before its file is read again; the kubelet replaces it at 80 % of its life. */
const tokenAgeMs = 10_000

export async function inClusterConnection(options: InClusterOptions): Promise<Connection> {
  const directory = options.directory ?? serviceAccountDirectory
  const ca = await readCredential(join(directory, 'ca.crt'))
  let token: { text: string; readAt: number } | undefined
  return {
    server: `https://${options.host.includes(':') ? `[${options.host}]` : options.host}:${options.port}`,
    ca,
    async credentials(fresh = false) {
      if (fresh || token === undefined || options.clock() - token.readAt >= tokenAgeMs)
        token = {
          text: (await readCredential(join(directory, 'token'))).trim(),
          readAt: options.clock()
        }
      return { headers: { authorization: `Bearer ${token.text}` } }
    }
  }
}

async function readCredential(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new KubernetesError(
      'Credentials',
      `The file ${file} cannot be read. A pod has it when its service account token is mounted (automountServiceAccountToken).`,
      { cause }
    )
  })
  if (text.trim() === '') throw new KubernetesError('Credentials', `The file ${file} is empty.`)
  return text
}

export interface KubeconfigOptions {
  /** Without it `KUBECONFIG` and the usual places, as kubectl does. */
  file?: string
  /** Without it the current context. */
  context?: string
}

export async function kubeconfigConnection(options: KubeconfigOptions = {}): Promise<Connection> {
  const { KubeConfig } = await import('@kubernetes/client-node')
  const config = new KubeConfig()
  try {
    if (options.file === undefined) config.loadFromDefault()
    else config.loadFromFile(options.file)
  } catch (cause) {
    const file = options.file ?? 'The default kubeconfig'
    throw new KubernetesError('Credentials', `${file} cannot be read as a kubeconfig.`, { cause })
  }
  if (options.context !== undefined) config.setCurrentContext(options.context)
  const cluster = config.getCurrentCluster()
  if (!cluster)
    throw new KubernetesError(
      'Credentials',
      `The kubeconfig has no cluster for the context "${config.getCurrentContext()}".`
    )
  // Who answers TokenReviews decides who gets certificates: an unverified server must never be asked.
  if (cluster.skipTLSVerify)
    throw new KubernetesError(
      'Credentials',
      `The cluster "${cluster.name}" has insecure-skip-tls-verify; give it certificate-authority-data instead.`
    )
  const reached = placeOf(cluster)
  const first = await applied(config)
  return {
    ...reached,
    ...(first.ca === undefined ? {} : { ca: text(first.ca) }),
    ...(cluster.tlsServerName === undefined ? {} : { servername: cluster.tlsServerName }),
    async credentials() {
      const { headers, auth, cert, key } = await applied(config)
      return {
        headers: {
          ...stringHeaders(headers),
          ...(auth ? { authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {})
        },
        ...(cert === undefined ? {} : { cert: text(cert) }),
        ...(key === undefined ? {} : { key: text(key) })
      }
    }
  }
}

/** Where a URL is of no use its scheme alone is shown: the rest may hold a password. */
function placeOf(cluster: {
  name: string
  server: string
  proxyUrl?: string
}): Pick<Connection, 'server' | 'proxy'> {
  const { name, server, proxyUrl: proxy } = cluster
  const refuse = (expected: string, url: string, todo: string) => {
    const found = URL.canParse(url) ? `one of ${new URL(url).protocol}//` : 'something else'
    const where = `The cluster "${name}" of the kubeconfig`
    return new KubernetesError(
      'Credentials',
      `${where}: expected ${expected}, found ${found}; ${todo}.`
    )
  }
  if (!isUrl(server, 'https:'))
    throw refuse('an https:// URL as its server', server, 'give it the one that can be verified')
  if (!proxy) return { server: server.replace(/\/+$/, '') }
  if (!isUrl(proxy, 'http:', 'https:'))
    throw refuse('an http:// or https:// URL as its proxy-url', proxy, 'give it an HTTP proxy')
  if (!isDecodable(proxy))
    throw refuse('a proxy-url in which each % is encoded', proxy, 'write it as %25')
  return { server: server.replace(/\/+$/, ''), proxy }
}

function isUrl(text: string, ...protocols: string[]): boolean {
  return URL.canParse(text) && protocols.includes(new URL(text).protocol)
}

async function applied(config: {
  applyToHTTPSOptions(options: RequestOptions): Promise<void>
}): Promise<RequestOptions> {
  const options: RequestOptions = { headers: {} }
  await config.applyToHTTPSOptions(options).catch((cause: unknown) => {
    throw new KubernetesError('Credentials', 'The credentials of the kubeconfig cannot be had.', {
      cause
    })
  })
  return options
}

function text(pem: unknown): string {
  return Buffer.isBuffer(pem) ? pem.toString('utf8') : String(pem)
}

function stringHeaders(headers: RequestOptions['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)])
  )
}

/** A user with a stray `%` could not be told to a proxy. */
function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
