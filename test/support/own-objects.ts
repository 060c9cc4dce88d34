/**
 * Stands in for the part of the Kubernetes API in which Rayguard keeps what is its own: Secrets, ConfigMaps and webhook
 * configurations, with versions that conflict and server-side apply by UID, over HTTP, at a time that the test sets.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Client, createClient } from '../../src/kubernetes/client.ts'
import type { KubernetesObject, WebhookConfiguration } from '../../src/kubernetes/objects.ts'

type Stored = KubernetesObject & { data?: Record<string, string> }

export interface OwnObjects {
  client: Client
  get(path: string): Stored | undefined
  put(path: string, object: object): void
  remove(path: string): void
  /** Calls whose `METHOD path` begins so are answered 403. */
  deny(...starts: string[]): void
  /** Calls to paths that end so are answered by this status and sentence; without a status as ever. */
  answer(end: string, status?: number, message?: string): void
  /** All calls so far, `METHOD path`. */
  readonly calls: string[]
  close(): Promise<void>
}

export async function ownObjects(): Promise<OwnObjects> {
  const objects = new Map<string, Stored>()
  const calls: string[] = []
  let sentence = 'refused'
  let denied: string[] = []
  const fixed = new Map<string, number>()
  let version = 0
  const store = (path: string, object: object) => {
    const { metadata, ...rest } = structuredClone(object) as Stored
    version += 1
    const stored = {
      ...rest,
      metadata: { uid: randomUUID(), ...metadata, resourceVersion: String(version) }
    }
    objects.set(path, stored)
    return stored
  }
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => {
      const path = (request.url ?? '').split('?')[0] ?? ''
      const call = `${request.method} ${path}`
      calls.push(call)
      const [, forced] = [...fixed].find(([end]) => call.endsWith(end)) ?? []
      const refusal = denied.some(start => call.startsWith(start)) ? 403 : forced
      const [status, answer] = refusal
        ? [refusal, { message: sentence }]
        : answerTo(request.method ?? '', path, Buffer.concat(chunks).toString())
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(answer))
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = createClient(
    { server: `http://127.0.0.1:${port}`, credentials: async () => ({ headers: {} }) },
    { timeoutMs: 5_000 }
  )
  return {
    client,
    get: path => objects.get(path),
    put: store,
    remove: path => void objects.delete(path),
    deny(...starts) {
      denied = starts
    },
    answer(end, status, message = 'refused') {
      sentence = message
      if (status === undefined) fixed.delete(end)
      else fixed.set(end, status)
    },
    calls,
    async close() {
      await client.close()
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }

  function answerTo(method: string, path: string, text: string): [number, object] {
    const sent = text === '' ? undefined : (JSON.parse(text) as Stored)
    const name = sent?.metadata.name
    const found = objects.get(method === 'POST' ? `${path}/${name}` : path)
    if (method === 'POST') {
      return found ? [409, { message: 'exists' }] : [201, store(`${path}/${name}`, sent ?? {})]
    }
    if (method === 'PATCH') return applied(path, sent as WebhookConfiguration, found)
    if (!found) return [404, { message: 'not found' }]
    if (method === 'GET') return [200, found]
    const stale = sent?.metadata.resourceVersion !== found.metadata.resourceVersion
    return stale ? [409, { message: 'stale' }] : [200, store(path, sent ?? {})]
  }

  /** The little of server-side apply that is used: entries by name, one field of each, never an object of another UID. */
  function applied(path: string, sent: WebhookConfiguration, found?: Stored): [number, object] {
    if (sent.metadata.uid !== found?.metadata.uid) return [409, { message: 'uid mismatch' }]
    const { webhooks } = found as WebhookConfiguration
    const merged = (webhooks ?? []).map(entry => {
      const change = sent.webhooks?.find(({ name }) => name === entry.name)
      return { ...entry, clientConfig: { ...entry.clientConfig, ...change?.clientConfig } }
    })
    return [200, store(path, { ...found, webhooks: merged })]
  }
}
