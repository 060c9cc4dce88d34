import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { createStandIn, type StandIn, standInName } from '../../src/demo/stand-in.ts'
import { readLines, readText } from '../../src/kubernetes/body.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import { type Client, createClient } from '../../src/kubernetes/client.ts'
import {
  type Connection,
  inClusterConnection,
  kubeconfigConnection
} from '../../src/kubernetes/connection.ts'
import { codeOfStatus, KubernetesError } from '../../src/kubernetes/error.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { path } from '../../src/kubernetes/path.ts'
import { watchEvents } from '../../src/kubernetes/watch.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import { issue, newAuthority, newKey } from '../support/hand-made-certificates.ts'
import { rayPod } from '../support/ray-objects.ts'

interface Api {
  standIn: StandIn
  server: string
  ca: string
  client: Client
}

const pair = servingPair()

async function startApi(t: Test, timeoutMs = 5_000): Promise<Api> {
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  const client = createClient(connectionTo(server, pair.ca), { timeoutMs, connections: 2 })
  t.teardown(async () => {
    await client.close()
    await standIn.close()
  })
  return { standIn, server, ca: pair.ca, client }
}

const fault = (asked: Promise<unknown>): Promise<KubernetesError> =>
  asked.then(
    () => new KubernetesError('Invalid', 'there was none'),
    caught => caught
  )

const podPath = '/api/v1/namespaces/team-a/pods/demo-worker-1'

t.test('calls share kept-alive connections', async t => {
  const { standIn, client } = await startApi(t)
  standIn.put(rayPod())
  const found = await Promise.all(Array.from({ length: 50 }, () => client.get<Pod>(podPath)))
  t.ok(
    found.every(pod => pod?.metadata.uid === 'demo-worker-1-uid'),
    'fifty reads answer'
  )
  t.ok(standIn.connections <= 2, `over ${standIn.connections} connections`)
  t.equal(
    await client.get('/api/v1/namespaces/team-a/pods/other'),
    undefined,
    'absent is undefined'
  )
})

t.test(
  'each status is a code, and the message has what the API said but nothing secret',
  async t => {
    const { standIn, client } = await startApi(t)
    const statuses = [400, 401, 403, 409, 410, 413, 422, 429, 500, 503] as const
    for (const status of statuses) {
      standIn.interfere(() => ({ status, body: { message: 'says the API' } }))
      const error = await fault(client.create('/api/v1/things', { secret: 'hush' }))
      t.match(error, { name: 'KubernetesError', code: codeOfStatus(status), status }, `${status}`)
      t.match(error.message, /says the API/, 'the reason of the API is kept')
      t.notMatch(error.message, /hush|client-token/, 'what was sent is not')
    }
    const bytes = '[spec.request: Invalid value: []byte{0x2d, 0x2d}: no PEM, '
    const text = 'spec.data: Duplicate value: "a \\"secret: b": given twice, '
    const other = 'spec: Invalid value: v1.Spec{Data:"secret"}: odd]'
    standIn.interfere(() => ({ status: 422, body: { message: bytes + text + other } }))
    t.equal(
      (await fault(client.create('/x', {}))).message,
      'POST /x: status 422: [spec.request: Invalid value: no PEM, spec.data: Duplicate value: given twice, spec: Invalid value',
      'nor what the API quotes of it; what is wrong with it is'
    )
    standIn.interfere(() => ({ status: 404 }))
    t.match(await client.create('/x', {}).catch(caught => caught), { code: 'NotFound' }, '404')
    standIn.interfere(() => ({
      status: 302,
      body: 'elsewhere',
      headers: { location: 'https://evil.test/' }
    }))
    t.match(
      await client.get('/x').catch(caught => caught),
      { code: 'Invalid' },
      'no redirect is followed'
    )
  }
)

t.test('answers that are not what was asked for are faults', async t => {
  const { standIn, client } = await startApi(t)
  const answer = (body: string) => standIn.interfere(() => ({ status: 200, body }))
  const code = (asked: Promise<unknown>) =>
    asked.then(
      () => 'answered',
      caught => caught.code
    )
  answer('<html>')
  t.equal(await code(client.get('/x')), 'Invalid', 'no JSON')
  for (const body of ['null', '{}', '{"metadata":null}', '[]']) {
    answer(body)
    t.equal(await code(client.get('/x')), 'Invalid', `${body} is no object of the API`)
    t.equal(await code(client.list('/x')), 'Invalid', `${body} is no list`)
  }
  answer('{"metadata":{"resourceVersion":"1"},"items":null}')
  t.same((await client.list('/x')).items, [], 'Go writes an empty list as null')
  answer('{"metadata":{"name":"x"}}')
  t.equal(await code(createCalls(client).pod('a', 'b')), 'Invalid', 'a pod has a specification')
  answer('null')
  const calls = createCalls(client)
  t.same(await calls.reviewToken('x', 'y'), {}, 'a review without status grants nothing')
  t.equal(await calls.may({ verb: 'get', group: '', resource: 'pods' }), false, 'nor does this one')
  answer(`{"metadata":{"name":"${'x'.repeat(5 * 1024 * 1024)}"}}`)
  t.equal(await code(client.get('/x')), 'TooLarge', 'an endless object is not read')
})

t.test('a broken connection is tried again for reads and reviews, never for writes', async t => {
  const { standIn, client } = await startApi(t)
  standIn.put(rayPod())
  let broken = 2
  const breaks = () => (broken-- > 0 ? { reset: true } : undefined)
  standIn.interfere(breaks)
  t.ok(await client.get(podPath), 'a read survives two')
  broken = 3
  t.match(await client.get(podPath).catch(caught => caught), { code: 'Unavailable' }, 'not three')
  broken = 2
  const review = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
  t.ok(await client.create(review, { spec: {} }, { repeatable: true }), 'so does a review')
  broken = 1
  const written = client.replace('/api/v1/x', {})
  t.match(await written.catch(caught => caught), { code: 'Unavailable' }, 'a write is not repeated')
})

t.test('an API that does not answer in time is unavailable', async t => {
  const { standIn, client, server } = await startApi(t, 50)
  let release = () => {}
  const until = new Promise<void>(resolve => {
    release = resolve
  })
  standIn.interfere(() => ({ until }))
  t.match(await client.get('/x').catch(caught => caught), { code: 'Unavailable' }, 'no answer')
  release()
  standIn.interfere(undefined)
  const stranger = createClient(connectionTo(server, newAuthority('Other').certificate), {
    timeoutMs: 2_000
  })
  t.teardown(stranger.close)
  t.match(
    await stranger.get('/x').catch(caught => caught),
    { code: 'Unavailable', message: /self-signed|unable to verify|certificate/ },
    'attack 33: a server that the CA does not vouch for is not asked'
  )
  t.notOk(standIn.requests.includes('GET /stranger'), 'nothing reached it')
})

t.test('the wait for a connection is not the time of the API', async t => {
  const { standIn, server, ca } = await startApi(t)
  const connection = connectionTo(server, ca)
  const client = createClient(connection, { timeoutMs: 400, connections: 1 })
  const impatient = createClient(connection, {
    timeoutMs: 60_000,
    connections: 1,
    connectionWaitMs: 20
  })
  t.teardown(async () => {
    await client.close()
    await impatient.close()
  })
  const pause = () => new Promise<void>(resolve => setTimeout(resolve, 100))
  standIn.interfere(() => ({ until: pause(), status: 200, body: { metadata: {} } }))
  const all = await Promise.all(Array.from({ length: 8 }, () => client.get(podPath)))
  t.equal(all.length, 8, 'eight calls of a tenth of a second each, one after the other, end well')

  let release = () => {}
  const until = new Promise<void>(resolve => {
    release = resolve
  })
  standIn.interfere(() => ({ until, status: 200, body: { metadata: {} } }))
  const first = impatient.get(podPath)
  t.match(
    await fault(impatient.get(podPath)),
    { code: 'Unavailable', message: /no connection was free/ },
    'a wait has its own limit'
  )
  release()
  t.ok(await first, 'the call before it is not concerned')
  t.ok(await impatient.get(podPath), 'nor the one after it')
})

t.test('a call ends with the wish of its caller and with its time, wherever it is', async t => {
  const { standIn, client, ca } = await startApi(t)
  const leaving = new AbortController()
  standIn.interfere(() => {
    leaving.abort('no error, but a text')
    return { until: new Promise(() => {}) }
  })
  const list = (signal: AbortSignal) => fault(client.list(podPath, {}, signal))
  t.match(await list(leaving.signal), { code: 'Unavailable', message: /has gone/ }, 'under way')
  const sent = standIn.requests.length
  t.match(await list(leaving.signal), { code: 'Unavailable' }, 'gone before it began')
  t.equal(standIn.requests.length, sent, 'nothing was sent')

  const silent = createTcpServer()
  await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as AddressInfo
  const unheard = createClient(connectionTo(`https://127.0.0.1:${port}`, ca), { timeoutMs: 50 })
  t.teardown(async () => {
    await unheard.close()
    silent.close()
  })
  t.match(
    await fault(unheard.get(podPath)),
    { code: 'Unavailable', message: /nothing within 50 ms/ },
    'a handshake that is not answered'
  )
})

t.test('an apply is a server-side apply', async t => {
  const { standIn, client } = await startApi(t)
  let seen: unknown
  standIn.interfere(({ method, query, body }) => {
    seen = { method, manager: query.get('fieldManager'), force: query.get('force'), body }
    return { status: 200, body: {} }
  })
  await client.apply('/apis/x/v1/things/one', { a: 1 }, 'rayguard')
  t.same(
    seen,
    { method: 'PATCH', manager: 'rayguard', force: 'true', body: { a: 1 } },
    'as it says'
  )
})

t.test('a path holds what it was given and nothing else', async t => {
  t.equal(
    path`/api/v1/namespaces/${'a/../b'}/pods/${'x?y#z %'}`,
    '/api/v1/namespaces/a%2F..%2Fb/pods/x%3Fy%23z%20%25',
    'segments are encoded'
  )
  for (const segment of ['', '.', '..'])
    t.throws(() => path`/pods/${segment}`, { code: 'Invalid' }, `"${segment}" is refused`)
})

t.test('lines and texts are cut at their limit, wherever the chunks end', async t => {
  async function* chunks(...parts: string[]) {
    for (const part of parts) yield Buffer.from(part)
  }
  const lines: string[] = []
  for await (const line of readLines(chunks('a', 'b\n\nc', '\n', 'd\ne\nrest'), 8)) lines.push(line)
  t.same(lines, ['ab', 'c', 'd', 'e'], 'whole lines only')
  t.equal(await readText(chunks('ab', 'cd'), 4), 'abcd', 'a text')
  await t.rejects(readText(chunks('ab', 'cde'), 4), { code: 'TooLarge' }, 'a long text')
  const drain = async (body: AsyncIterable<Uint8Array>) => {
    for await (const _ of readLines(body, 4));
  }
  await t.rejects(drain(chunks('abc', 'de')), { code: 'TooLarge' }, 'a long line')
  for (const odd of [
    'x',
    'null',
    '{"type":1,"object":{}}',
    '{"type":"ADDED"}',
    '{"type":"NEWS","object":{}}'
  ]) {
    const events = watchEvents(chunks(`${odd}\n`), '/x')
    await t.rejects(events.next(), { code: 'Invalid' }, `${odd} is no event`)
  }
  const anonymous = watchEvents(chunks('{"type":"ERROR","object":{}}\n'), '/x')
  await t.rejects(anonymous.next(), { code: 'Unavailable' }, 'an error without a code')
})

t.test('in a cluster the token is read anew when it is old or was not accepted', async t => {
  const { standIn, server } = await startApi(t)
  const { hostname, port } = new URL(server)
  const directory = t.testdir({ 'ca.crt': pair.ca, token: `${clientToken}\n` })
  let now = 0
  const connection = await inClusterConnection({
    host: hostname,
    port,
    directory,
    clock: () => now
  })
  const client = createClient(connection, { timeoutMs: 5_000 })
  t.teardown(client.close)
  standIn.put(rayPod())
  t.ok(await client.get(podPath), 'the token of the file is accepted')
  await writeFile(join(directory, 'token'), 'another')
  t.ok(await client.get(podPath), 'it is kept for a while')
  now = 10_000
  t.match(await client.get(podPath).catch(caught => caught), { code: 'Unauthorized' }, 'then read')
  await writeFile(join(directory, 'token'), clientToken)
  t.ok(await client.get(podPath), 'attack: after a 401 it is read at once')
  await writeFile(join(directory, 'token'), '')
  now = 30_000
  t.match(await client.get(podPath).catch(caught => caught), { code: 'Credentials' }, 'empty')
  await rm(join(directory, 'token'))
  t.match(await client.get(podPath).catch(caught => caught), { code: 'Credentials' }, 'absent')
  await mkdir(join(directory, 'empty'))
  const nowhere = inClusterConnection({
    host: '::1',
    port,
    directory: join(directory, 'empty'),
    clock: () => 0
  })
  await t.rejects(nowhere, { code: 'Credentials' }, 'no CA is no connection')
  const six = await inClusterConnection({ host: '::1', port: '443', directory, clock: () => 0 })
  t.equal(six.server, 'https://[::1]:443', 'an IPv6 address stands in brackets')
})

t.test('a kubeconfig gives server, CA and user, and must give a CA', async t => {
  const { standIn, server, ca } = await startApi(t)
  standIn.put(rayPod())
  const data = Buffer.from(ca).toString('base64')
  const users = [
    { name: 'token', user: { token: clientToken } },
    { name: 'password', user: { username: 'ray', password: 'hush' } }
  ]
  const clusters = [
    {
      name: 'good',
      cluster: {
        server: `${server}/`,
        'certificate-authority-data': data,
        'tls-server-name': 'localhost'
      }
    },
    { name: 'careless', cluster: { server, 'insecure-skip-tls-verify': true } },
    { name: 'public', cluster: { server } }
  ]
  const contexts = [
    { name: 'good', context: { cluster: 'good', user: 'token' } },
    { name: 'password', context: { cluster: 'good', user: 'password' } },
    { name: 'careless', context: { cluster: 'careless', user: 'token' } },
    { name: 'public', context: { cluster: 'public', user: 'token' } },
    { name: 'lost', context: { cluster: 'nowhere', user: 'token' } },
    { name: 'broken', context: { cluster: 'good', user: 'broken' } }
  ]
  users.push({
    name: 'broken',
    user: { exec: { command: '/does/not/exist', apiVersion: 'client.authentication.k8s.io/v1' } }
  } as never)
  const text = stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters,
    users,
    contexts,
    'current-context': 'good'
  })
  const file = join(t.testdir({ config: text, junk: '{' }), 'config')
  const connection = await kubeconfigConnection({ file })
  t.equal(connection.server, server, 'the server without its slash')
  t.equal(connection.servername, 'localhost', 'the name of its certificate')
  const client = createClient(connection, { timeoutMs: 5_000 })
  t.teardown(client.close)
  t.ok(await client.get(podPath), 'it works')
  const basic = await (await kubeconfigConnection({ file, context: 'password' })).credentials()
  t.equal(
    basic.headers.authorization,
    `Basic ${Buffer.from('ray:hush').toString('base64')}`,
    'a password'
  )
  t.equal(
    (await kubeconfigConnection({ file, context: 'public' })).ca,
    undefined,
    "the system's authorities"
  )
  const code = (context: string) =>
    kubeconfigConnection({ file, context }).then(
      () => '',
      caught => caught.code
    )
  t.equal(
    await code('careless'),
    'Credentials',
    'an unverified server is never asked who holds a token'
  )
  t.equal(await code('lost'), 'Credentials', 'a context without a cluster')
  t.equal(await code('unheard-of'), 'Credentials', 'no such context')
  t.equal(await code('broken'), 'Credentials', 'a plugin that cannot be run')
  await t.rejects(
    kubeconfigConnection({ file: `${file}-absent` }),
    { code: 'Credentials' },
    'no file'
  )
})

t.test('a client certificate is shown, and a new one on new connections', async t => {
  const ca = newAuthority('Client CA')
  const seen: string[] = []
  const server = createServer(
    { cert: pair.certificate, key: pair.privateKey, requestCert: true, ca: ca.certificate },
    (request, response) => {
      const socket = request.socket as unknown as {
        getPeerCertificate(): { subject: { CN: string } }
      }
      seen.push(socket.getPeerCertificate().subject.CN)
      response.end('{"metadata":{}}')
    }
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const pairOf = (commonName: string) => {
    const key = newKey()
    return {
      cert: issue(ca, { key, commonName }),
      key: key.export({ type: 'pkcs8', format: 'pem' }) as string
    }
  }
  let shown = pairOf('first')
  const connection: Connection = {
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca: pair.ca,
    servername: 'localhost',
    credentials: async () => ({ headers: {}, ...shown })
  }
  const client = createClient(connection, { timeoutMs: 5_000 })
  t.teardown(async () => {
    await client.close()
    server.closeAllConnections()
    server.close()
  })
  await client.get('/x')
  shown = pairOf('second')
  await client.get('/x')
  t.same(seen, ['first', 'second'], 'each call shows the certificate of the moment')
})

t.test('objects of KubeRay are found in the version that the cluster serves', async t => {
  const { standIn, client } = await startApi(t)
  standIn.interfere(({ path }) =>
    path.startsWith('/apis/ray.io/v1/') ? { status: 404 } : undefined
  )
  standIn.put({ kind: 'RayJob', metadata: { namespace: 'a', name: 'b', uid: 'c' } })
  const calls = createCalls(client)
  const reference = { apiVersion: 'ray.io/v1', kind: 'RayJob', name: 'b' } as const
  t.equal((await calls.rayObject('a', reference))?.metadata.uid, 'c', 'in the older one')
  t.equal(await calls.rayObject('a', { ...reference, name: 'x' }), undefined, 'or not at all')
})

t.test('the stand-in says what it is', async t => {
  const { server, ca } = await startApi(t)
  const { Agent, request } = await import('undici')
  const dispatcher = new Agent({ connect: { ca } })
  t.teardown(() => dispatcher.close())
  const { headers, body, statusCode } = await request(server, { dispatcher })
  await body.dump()
  t.equal(headers.server, standInName, 'in every answer')
  t.equal(statusCode, 401, 'and wants its token, as the real one')
  t.ok(new KubernetesError('Gone', 'x') instanceof Error, 'errors are errors')
})
