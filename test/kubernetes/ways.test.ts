import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { command as pause } from '../../src/cli/pause.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import { type Client, createClient } from '../../src/kubernetes/client.ts'
import { kubeconfigConnection } from '../../src/kubernetes/connection.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { runCommand } from '../support/cli.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'
import { issue, newAuthority, newKey } from '../support/hand-made-certificates.ts'
import { rayPod } from '../support/ray-objects.ts'
import { httpProxy, kubeconfigText, serverWithClusters } from '../support/ways-to-api.ts'

const pair = servingPair()
const podsPath = '/api/v1/namespaces/team-a/pods'
const base64 = (text: string) => Buffer.from(text).toString('base64')
const certified = { 'certificate-authority-data': base64(pair.ca) }

async function startApi(t: Test) {
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  t.teardown(() => standIn.close())
  standIn.put(rayPod())
  return { standIn, server }
}

function kubeconfig(t: Test, cluster: object, user: object = { token: clientToken }): string {
  return join(t.testdir({ kubeconfig: kubeconfigText(cluster, user) }), 'kubeconfig')
}

async function clientBy(t: Test, file: string, timeoutMs = 5_000): Promise<Client> {
  const client = createClient(await kubeconfigConnection({ file }), { timeoutMs })
  t.teardown(client.close)
  return client
}

/** The name of a pod as a call finds it, and as a watch shows it when it changes. */
async function namesBy(client: Client, standIn: StandIn): Promise<(string | undefined)[]> {
  const found = await client.get<Pod>(`${podsPath}/demo-worker-1`)
  const { resourceVersion } = (await client.list<Pod>(podsPath)).metadata
  const change = () => void standIn.put(rayPod())
  const signal = AbortSignal.timeout(20_000)
  for await (const { object } of client.watch<Pod>(podsPath, { resourceVersion }, signal, change))
    return [found?.metadata.name, object.metadata.name]
  return []
}

t.test('a server below a path is reached by each call and watch', async t => {
  const { standIn, server } = await startApi(t)
  const front = await serverWithClusters(t, pair, server)
  for (const slash of ['', '/']) {
    const client = await clientBy(t, kubeconfig(t, { server: `${front}${slash}`, ...certified }))
    t.same(await namesBy(client, standIn), ['demo-worker-1', 'demo-worker-1'], `with "${slash}"`)
  }

  standIn.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team-a' } })
  const file = kubeconfig(t, { server: front, ...certified })
  const told = await runCommand(pause, ['team-a', '--kubeconfig', file])
  t.match(told, { code: 0, err: '' }, 'a command of ours too')
})

t.test('a proxy leads there, and sees neither the token nor what is said', async t => {
  const { standIn, server } = await startApi(t)
  const { url, seen } = await httpProxy(t)
  const proxy = url.replace('//', '//me:pass%20word@')
  const client = await clientBy(t, kubeconfig(t, { server, ...certified, 'proxy-url': proxy }))
  t.same(await namesBy(client, standIn), ['demo-worker-1', 'demo-worker-1'])
  const expected = `${new URL(server).host} Basic ${base64('me:pass word')}`
  t.same(new Set(seen), new Set([expected]), 'it is asked for the server by the user of its URL')

  const named = { server, ...certified, 'proxy-url': url.replace('//', '//token@') }
  t.ok(await (await clientBy(t, kubeconfig(t, named))).list(podsPath))
  t.ok(seen.includes(`${new URL(server).host} Basic ${base64('token:')}`), 'a user alone, too')

  const other = base64(newAuthority('Other').certificate)
  const cluster = { server, 'certificate-authority-data': other, 'proxy-url': url }
  const deceived = await clientBy(t, kubeconfig(t, cluster))
  await t.rejects(
    deceived.get(podsPath),
    { code: 'Unavailable', message: /self-signed|unable to verify|certificate/ },
    'attack 33: nor does the API go without the CA behind a proxy'
  )
  const misnamed = { server, ...certified, 'proxy-url': url, 'tls-server-name': 'elsewhere' }
  await t.rejects(
    (await clientBy(t, kubeconfig(t, misnamed))).get(podsPath),
    { code: 'Unavailable', message: /elsewhere/ },
    'and the name in its certificate counts'
  )
})

t.test('a client certificate is shown to the server behind a proxy and below a path', async t => {
  const authority = newAuthority('Client CA')
  const server = createServer(
    { cert: pair.certificate, key: pair.privateKey, requestCert: true, ca: authority.certificate },
    ({ socket, url }, response) => {
      const { subject } = (socket as TLSSocket).getPeerCertificate()
      response.end(JSON.stringify({ metadata: { name: `${subject.CN} ${url}` } }))
    }
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const { url } = await httpProxy(t)
  const key = newKey()
  const user = {
    'client-certificate-data': base64(issue(authority, { key, commonName: 'me' })),
    'client-key-data': base64(key.export({ type: 'pkcs8', format: 'pem' }) as string)
  }
  const { port } = server.address() as AddressInfo
  const far = { server: `https://127.0.0.1:${port}/a/b`, ...certified, 'proxy-url': url }
  const client = await clientBy(t, kubeconfig(t, far, user))
  t.equal((await client.get('/x'))?.metadata.name, 'me /a/b/x')
})

/** `takes`: all that is behind the address of its proxy. */
async function clientBehind(t: Test, takes: (socket: Socket) => void, timeoutMs: number) {
  const proxy = createTcpServer(takes)
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => proxy.close())
  const { port } = proxy.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  const cluster = { server: 'https://api.test', ...certified, 'proxy-url': url }
  return await clientBy(t, kubeconfig(t, cluster), timeoutMs)
}

t.test('a proxy that says nothing holds neither a call nor a watch', async t => {
  const client = await clientBehind(t, socket => t.teardown(() => socket.destroy()), 50)
  await t.rejects(client.get(podsPath), { code: 'Unavailable' }, 'a call')
  const watch = client.watch(podsPath, {}, new AbortController().signal)
  await t.rejects(watch.next(), { code: 'Unavailable' }, 'a watch')
})

t.test('a proxy that hangs up fails a call and a watch at once', async t => {
  let taken = 0
  const hangUp = (socket: Socket) => {
    taken += 1
    socket.on('error', () => {})
    socket.end()
  }
  const client = await clientBehind(t, hangUp, 5_000)
  const told = { code: 'Unavailable', message: /proxy has closed/ }
  await t.rejects(client.create(podsPath, {}, { repeatable: false }), told, 'a call')
  const watch = client.watch(podsPath, {}, new AbortController().signal)
  await t.rejects(watch.next(), told, 'a watch')
  t.equal(taken, 2, 'which comes there once each')
})

t.test('what cannot be reached so is told with the name of the cluster', async t => {
  const server = 'https://api.test'
  const secret = 'hush'
  for (const [cluster, found] of [
    [{ server: 'http://api.test' }, /"far".* expected an https:.* server, found one of http:/],
    [
      { server: 'http://api.test', 'proxy-url': 'http://proxy.test' },
      /"far".* https:.* server, found one of http:/
    ],
    [{ server: 'api.test' }, /"far".* server, found something else/],
    [
      { server, 'proxy-url': `socks5://me:${secret}@proxy.test:1080` },
      /"far".* proxy-url, found one of socks5:/
    ],
    [{ server, 'proxy-url': `me:${secret}@proxy` }, /"far".* proxy-url, found/],
    [{ server, 'proxy-url': `http://me:${secret}%zz@proxy` }, /"far".* encoded, .*%25/]
  ] as const) {
    const asked = kubeconfigConnection({ file: kubeconfig(t, cluster) })
    const error = await asked.then(
      () => new Error('there was none'),
      (caught: Error) => caught
    )
    t.match(error, { code: 'Credentials', message: found }, JSON.stringify(cluster))
    t.notMatch(error.message, secret, 'nothing secret is')
  }
})
