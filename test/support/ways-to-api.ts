/** What may stand between a kubeconfig and its API server: a server with many clusters in it, and an HTTP proxy. */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer, request } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import type { Test } from 'tap'
import { stringify } from 'yaml'

interface Pair {
  ca: string
  certificate: string
  privateKey: string
}

/** As Rancher does: each cluster below a path of its own. Resolves with the URL of this one. */
export async function serverWithClusters(
  t: Test,
  { ca, certificate, privateKey }: Pair,
  server: string
): Promise<string> {
  const base = '/k8s/clusters/c-m-x'
  const front = createHttpsServer({ cert: certificate, key: privateKey }, (asked, answer) => {
    const { method, headers, url = '' } = asked
    if (!url.startsWith(`${base}/api`)) {
      answer.writeHead(404).end()
      return
    }
    const behind = request(server + url.slice(base.length), { method, headers, ca }, found => {
      // At once: a watch may have nothing to show for long.
      answer.writeHead(found.statusCode ?? 502, found.headers).flushHeaders()
      found.pipe(answer)
    })
    behind.on('error', () => answer.destroy())
    answer.on('close', () => behind.destroy())
    asked.pipe(behind)
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.teardown(() => {
    front.close()
    front.closeAllConnections()
  })
  return `https://127.0.0.1:${(front.address() as AddressInfo).port}${base}`
}

/** `seen`: to where it was asked to lead, and by whom. */
export async function httpProxy(t: Test): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = []
  const proxy = createHttpServer()
  proxy.on('connect', ({ url = '', headers }, socket) => {
    seen.push(`${url} ${headers['proxy-authorization'] ?? 'nobody'}`)
    const { hostname, port } = new URL(`tcp://${url}`)
    const onward = connect(Number(port), hostname, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.destroy())
    socket.on('error', () => onward.destroy())
    t.teardown(() => {
      onward.destroy()
      socket.destroy()
    })
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => proxy.close())
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, seen }
}

/** With one cluster and one user. */
export function kubeconfigText(cluster: object, user: object): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'far', cluster }],
    users: [{ name: 'me', user }],
    contexts: [{ name: 'there', context: { cluster: 'far', user: 'me' } }],
    'current-context': 'there'
  })
}
