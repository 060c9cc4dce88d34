import { createHook } from 'node:async_hooks'
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https'
import { createServer, Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import {
  type ClientCaError,
  createClientCaReload,
  readClientCa
} from '../../src/server/client-ca.ts'
import { paceHandshakes } from '../../src/server/handshakes.ts'
import { type Limits, limits } from '../../src/server/limits.ts'
import { listenError, listenOn } from '../../src/server/listen-on.ts'
import { createListener, type Listener, type ListenerOptions } from '../../src/server/listener.ts'
import { createSeldom } from '../../src/server/seldom.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { servingPair } from '../support/enrollment-stage.ts'
import { openTcp, openTls } from '../support/raw-connection.ts'

const pair = servingPair()

interface Started {
  listener: Listener
  port: number
  log(): string
  statuses: number[]
}

interface Wishes {
  limits?: Partial<Limits>
  register?: ListenerOptions['register']
  options?: Partial<ListenerOptions>
}

function echo(app: FastifyInstance): void {
  app.get('/', (_request, reply) => reply.send({ ok: true }))
  app.post('/echo', (request, reply) => reply.send(request.body))
}

async function start(t: Test, wishes: Wishes = {}): Promise<Started> {
  let log = ''
  let count = 0
  const statuses: number[] = []
  const listener = await createListener({
    name: 'webhook',
    address: '127.0.0.1',
    port: 0,
    limits: { ...limits.webhook, ...wishes.limits },
    serving: pair,
    register: wishes.register ?? echo,
    requestId: () => `request-${++count}`,
    log: createLogger({
      level: 'debug',
      destination: {
        write(line) {
          log += line
        }
      }
    }),
    onReply: status => statuses.push(status),
    ...wishes.options
  })
  t.teardown(async () => {
    listener.cut()
    await listener.close()
  })
  const { port } = await listener.start()
  return { listener, port, log: () => log, statuses }
}

interface Reply {
  status: number
  headers: Record<string, unknown>
  text: string
  json(): { code: string; message: string; requestId: string }
  fingerprint: string
}

function ask(
  port: number,
  path = '/',
  options: RequestOptions & { body?: string | Buffer; ca?: string } = {}
): Promise<Reply> {
  const { body, ...rest } = options
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      { host: '127.0.0.1', port, path, ca: pair.ca, agent: false, ...rest },
      response => {
        const { fingerprint256 } = (response.socket as TLSSocket).getPeerCertificate()
        let text = ''
        response.setEncoding('utf8')
        response.on('data', chunk => {
          text += chunk
        })
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: () => JSON.parse(text),
            fingerprint: fingerprint256
          })
        )
      }
    )
    request.on('error', reject)
    request.end(body)
  })
}

const post = (body: string, contentType = 'application/json') => ({
  method: 'POST',
  headers: { 'content-type': contentType },
  body
})

/** What `openssl s_client` says, whatever its exit code. */
function sClient(port: number, ...options: string[]): Promise<string> {
  return new Promise(resolve => {
    const child = execFile(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${port}`, ...options],
      (_error, stdout, stderr) => resolve(stdout + stderr)
    )
    child.stdin?.end('Q\n')
  })
}

t.test(
  'few handshakes begin in one turn of the event loop, the others follow in order',
  async t => {
    const begun: Socket[] = []
    const server = createServer(socket => void begun.push(socket))
    paceHandshakes(server, { perTurn: 2, waitMs: 60_000 })
    const sockets = Array.from({ length: 7 }, () => new Socket())
    for (const socket of sockets) server.emit('connection', socket)
    const numbers = () => begun.map(socket => sockets.indexOf(socket))
    t.same(numbers(), [0, 1], 'two at once')
    sockets[3]?.destroy()
    await nextTurn()
    t.same(numbers(), [0, 1, 2, 4], 'two in the next turn, without the one that has gone')
    const late = new Socket()
    sockets.push(late)
    server.emit('connection', late)
    await nextTurn()
    t.same(numbers(), [0, 1, 2, 4, 5, 6], 'who comes later comes behind those who wait')
    await nextTurn()
    t.equal(begun.at(-1), late, 'and is not forgotten')
    await nextTurn()
    server.emit('connection', new Socket())
    t.equal(begun.length, 8, 'who comes alone does not wait')

    const closed = createServer()
    paceHandshakes(closed, { perTurn: 0, waitMs: 10 })
    const patient = new Socket()
    closed.emit('connection', patient)
    await once(patient, 'close')
    t.ok(patient.destroyed, 'nobody waits for ever')
  }
)

t.test('a burst of clients is served however few may begin at one time', async t => {
  const { port } = await start(t, { limits: { handshakesPerTurn: 1 } })
  const replies = await Promise.all(Array.from({ length: 20 }, () => ask(port)))
  t.ok(
    replies.every(({ status }) => status === 200),
    'all of them'
  )
})

t.test(
  'attack 64: a downgrade below TLS 1.2, or to a weak suite, fails in the handshake',
  async t => {
    const { port } = await start(t)
    const weak = ['-cipher', 'ALL:@SECLEVEL=0']
    for (const version of ['-tls1', '-tls1_1'])
      t.match(
        await sClient(port, version, ...weak),
        /alert protocol version|alert handshake failure/,
        `${version} is refused`
      )
    t.match(
      await sClient(port, '-tls1_2'),
      /Cipher is ECDHE-\w+-AES128-GCM-SHA256/,
      'TLS 1.2 is taken'
    )
    t.match(await sClient(port, '-tls1_3'), /Cipher is TLS_AES/, 'TLS 1.3 is taken')
    for (const suite of [
      'AES128-SHA',
      'ECDHE-ECDSA-AES128-SHA',
      'AES128-GCM-SHA256',
      'ECDHE-ECDSA-AES128-SHA256'
    ])
      t.match(
        await sClient(port, '-tls1_2', '-cipher', `${suite}:@SECLEVEL=0`),
        /alert handshake failure/,
        `${suite} is refused: no forward secrecy or no AEAD`
      )
    t.match(
      await sClient(port, '-alpn', 'h2,http/1.1'),
      /ALPN protocol: http\/1\.1/,
      'HTTP/2 is not offered'
    )
  }
)

t.test('attack 64: renegotiation within a connection is refused', async t => {
  const { port } = await start(t)
  const text = await new Promise<string>(resolve => {
    const child = execFile(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_2'],
      (_error, stdout, stderr) => resolve(stdout + stderr)
    )
    child.stdin?.write('R\n')
    child.stdout?.on('data', () => {})
    child.stderr?.on('data', data => {
      if (/RENEGOTIATING/.test(String(data))) child.stdin?.end()
    })
  })
  t.match(text, /no renegotiation/, 'the server says no')
})

t.test('plain HTTP on the TLS port is cut without an answer', async t => {
  const { port, log } = await start(t)
  const connection = await openTcp(port)
  connection.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  t.notMatch(await connection.ended(), /200/, 'nothing is served')
  t.match(log(), /a TLS handshake failed/, 'the log knows')
})

t.test('attack: a connection that never begins its handshake is cut', async t => {
  const { port } = await start(t, { limits: { handshakeTimeoutMs: 50 } })
  const connection = await openTcp(port)
  t.equal(await connection.ended(), '', 'the server ends it')
})

t.test('attack: slow loris, headers that never end', async t => {
  const { port } = await start(t, { limits: { headersTimeoutMs: 100, checkEveryMs: 20 } })
  const kept = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => kept.destroy())
  const first = await ask(port, '/', { agent: kept })
  const connection = await openTls(port, { ca: pair.ca })
  connection.send('GET / HTTP/1.1\r\nhost: a\r\nx-slow: ')
  const drip = setInterval(() => connection.send('a'), 20)
  t.teardown(() => clearInterval(drip))
  t.match(
    await connection.ended(),
    /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*did not arrive in time/,
    'is answered 408 and cut'
  )
  t.equal(first.status, 200, 'another client was served before')
  let reused = false
  const again = httpsRequest({ host: '127.0.0.1', port, ca: pair.ca, agent: kept })
  const [response] = await Promise.all([
    once(again, 'response').then(([found]) => {
      reused = again.reusedSocket
      found.resume()
      return found
    }),
    new Promise<void>(resolve => again.end(resolve))
  ])
  t.equal(response.statusCode, 200, 'and is served on')
  t.ok(reused, 'over the connection that idled for longer than that: idling is no attack')
})

t.test('attack: a body that never ends', async t => {
  const { port } = await start(t, {
    limits: { requestTimeoutMs: 200, headersTimeoutMs: 200, checkEveryMs: 20 }
  })
  const connection = await openTls(port, { ca: pair.ca })
  connection.send(
    'POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{'
  )
  t.match(await connection.ended(), /^HTTP\/1\.1 408 /, 'is answered 408 and cut')
})

t.test('attack: header floods', async t => {
  const { port, listener } = await start(t)
  const big = await openTls(port, { ca: pair.ca })
  big.send(`GET / HTTP/1.1\r\nhost: a\r\nx-big: ${'a'.repeat(17 * 1024)}\r\n\r\n`)
  t.match(await big.ended(), /^HTTP\/1\.1 431 [\s\S]*headers are too large/, 'one huge header: 431')
  const many = await openTls(port, { ca: pair.ca })
  many.send(
    `GET / HTTP/1.1\r\nhost: a\r\n${Array.from({ length: 5_000 }, (_, at) => `x${at}: a\r\n`).join('')}\r\n`
  )
  t.match(await many.ended(), /^HTTP\/1\.1 431 /, 'thousands of small ones: 431')
  const broken = await openTls(port, { ca: pair.ca })
  broken.send('NONSENSE\r\n\r\n')
  t.match(await broken.ended(), /^HTTP\/1\.1 400 Bad Request/, 'what is no HTTP: 400')
  const smuggled = await openTls(port, { ca: pair.ca })
  smuggled.send(
    'POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'
  )
  t.match(await smuggled.ended(), /^HTTP\/1\.1 400 /, 'two lengths at once: 400')
  t.equal(listener.name, 'webhook', 'the listener lives on')
})

t.test('attack: a body over the limit, announced or not', async t => {
  const { port } = await start(t, { limits: { bodyBytes: 1000 } })
  const body = JSON.stringify('a'.repeat(2000))
  const announced = await ask(port, '/echo', post(body))
  t.equal(announced.status, 413, 'announced')
  t.equal(announced.json().code, 'BodyTooLarge', 'with a code')
  const chunked = await openTls(port, { ca: pair.ca })
  chunked.send(
    'POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n'
  )
  chunked.send(`${body.length.toString(16)}\r\n${body}\r\n`)
  t.match(await chunked.until(/\r\n\r\n/), /^HTTP\/1\.1 413 /, 'in chunks')
  chunked.socket.destroy()
  t.equal(
    (await ask(port, '/echo', post(JSON.stringify('a'.repeat(900))))).status,
    200,
    'below it is taken'
  )
})

t.test('attack: more connections than allowed are refused, those that are open go on', async t => {
  const { port, log } = await start(t, { limits: { maximumConnections: 2 } })
  const one = await openTls(port, { ca: pair.ca })
  const two = await openTls(port, { ca: pair.ca })
  await t.rejects(openTls(port, { ca: pair.ca }), 'the third is closed before its handshake')
  t.match(log(), /as many as allowed are open/, 'the log says why')
  one.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  t.match(await one.until(/"ok":true/), /200 OK/, 'the first is served')
  two.socket.end()
  await two.ended()
})

t.test(
  'attack 75: one address takes all connections; another is served, the log stays short',
  async t => {
    const { port, log } = await start(t, {
      limits: { connectionsPerAddress: 2, tellEveryMs: 60_000 }
    })
    const mine = { ca: pair.ca }
    const first = await openTls(port, mine)
    const second = await openTls(port, mine)
    const refused = Array.from({ length: 20 }, () =>
      openTls(port, mine).then(String, () => 'closed')
    )
    t.same([...new Set(await Promise.all(refused))], ['closed'], 'twenty more are closed')
    const lines = log()
      .split('\n')
      .filter(line => line.includes('as many as allowed'))
    t.equal(lines.length, 1, 'twenty refusals are one line')
    const other = await ask(port, '/', { localAddress: '127.0.0.9' })
    t.equal(other.status, 200, 'another address is served')
    first.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    t.match(await first.until(/"ok":true/), /200 OK/, 'and so is one that is open')
    second.socket.end()
    await second.ended()
    let again: Reply | undefined
    while (again === undefined) again = await ask(port).catch(() => undefined)
    t.equal(again.status, 200, 'a place that was left is free again')
  }
)

t.test('attack 75: no handshake begins for an address that has its share', async t => {
  const { port } = await start(t, { limits: { connectionsPerAddress: 2, handshakesPerTurn: 2 } })
  let begun = 0
  const counting = createHook({
    init(_id, type) {
      if (type === 'TLSWRAP') begun += 1
    }
  }).enable()
  t.teardown(() => counting.disable())
  // The clients are without TLS, so that what begins is the server's.
  const mine = [await openTcp(port), await openTcp(port)]
  for (let times = 0; times < 20; times += 1) await (await openTcp(port)).ended()
  t.equal(begun, mine.length, 'two have begun, twenty were cut before')
})

t.test('what strangers cause is told at once, then as a number', async t => {
  const told: number[] = []
  const seldom = createSeldom(times => told.push(times), 10)
  for (let times = 0; times < 5; times += 1) seldom.say()
  t.same(told, [1], 'the first')
  while (told.length < 2) await new Promise(resolve => setTimeout(resolve, 5))
  t.same(told, [1, 4], 'the others together')
  await new Promise(resolve => setTimeout(resolve, 30))
  t.same(told, [1, 4], 'nothing where nothing was')
  seldom.say()
  t.same(told, [1, 4, 1], 'then at once again')
})

t.test('attack: many bodies that lack their last bytes; the oldest are cut', async t => {
  const { port, log, statuses } = await start(t, {
    limits: { bodyBytesTogether: 100_000, tellEveryMs: 60_000 }
  })
  const stall = async (headers: string, text: string) => {
    const connection = await openTls(port, { ca: pair.ca })
    connection.send(
      `POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n${headers}\r\n\r\n${text}`
    )
    return connection
  }
  const bytes = 'a'.repeat(40_000)
  const announced = await stall('content-length: 50000', `"${bytes}`)
  const chunked = await stall('transfer-encoding: chunked', `9c41\r\n"${bytes}\r\n`)
  const boasting = await stall('content-length: 7000000', '"')
  const fits = await ask(port, '/echo', post(JSON.stringify('a'.repeat(5_000))))
  t.equal(fits.status, 200, 'below the limit all are taken')
  // The listener has to have read all that was sent before the next one can be too much.
  const whole = () => ask(port, '/echo', post(JSON.stringify('a'.repeat(60_000))))
  t.equal((await whole()).status, 200, 'what comes whole is served in their midst')
  while (!announced.socket.destroyed || !chunked.socket.destroyed) {
    t.equal((await whole()).status, 200, 'again and again')
  }
  const cut = /^HTTP\/1\.1 503 Service Unavailable[\s\S]*connection: close/
  t.match(await announced.ended(), cut, 'an announced body is cut, and told to come again')
  t.match(await chunked.ended(), cut, 'one in chunks, too')
  t.notOk(boasting.socket.destroyed, 'who only announces much takes no memory, and goes on')
  const lines = log()
    .split('\n')
    .filter(line => line.includes('bodies were cut'))
  t.equal(lines.length, 1, 'the log says so, once')
  t.notMatch(log(), /"level":"error"/, 'it is no fault of ours')
  t.notOk(statuses.includes(500), 'nor counted as one')
})

t.test('a connection is given back after its share of requests', async t => {
  const { port } = await start(t, { limits: { requestsPerConnection: 2 } })
  const connection = await openTls(port, { ca: pair.ca })
  connection.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  t.match(await connection.until(/"ok":true/), /connection: keep-alive/i, 'it is kept at first')
  connection.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  t.match(await connection.until(/"ok":true[\s\S]*"ok":true/), /connection: close/i, 'then it ends')
})

t.test(
  'an idle connection outlives those of the API server, which drops them after 90 s',
  async t => {
    const { port } = await start(t)
    const kept = new Agent({ keepAlive: true })
    t.teardown(() => kept.destroy())
    const { headers } = await ask(port, '/', { agent: kept })
    t.equal(headers['keep-alive'], 'timeout=120, max=10000', 'the server waits for longer')
    t.ok(limits.webhook.keepAliveTimeoutMs > 90_000, 'by the table, too')
  }
)

t.test('what is asked wrongly is answered in words, the same for everybody', async t => {
  const { port, log, statuses } = await start(t, {
    register(app) {
      app.post('/mutate/:podSecurity/:tls?', (_request, reply) => reply.send({}))
      app.post('/mutate', (_request, reply) => reply.send({}))
      app.get('/fault', () => {
        throw Object.assign(new Error('the password of the database is hunter2'), {
          code: 'EDATABASE'
        })
      })
      app.get('/teapot', () => {
        throw Object.assign(new Error('secret detail'), { statusCode: 418 })
      })
      app.post('/typed', {
        schema: {
          body: {
            type: 'object',
            additionalProperties: false,
            properties: { n: { type: 'integer' } }
          }
        },
        handler: (request, reply) => reply.send(request.body)
      })
    }
  })
  const cases: [string, Parameters<typeof ask>[2], number, string, RegExp?][] = [
    ['/nothing', {}, 404, 'NotFound', /\/mutate, \/fault/],
    ['/mutate/a/b/c', post('{}'), 404, 'NotFound'],
    ['/mutate', {}, 405, 'MethodNotAllowed', /takes POST/],
    ['/mutate?timeout=10s', { method: 'DELETE' }, 405, 'MethodNotAllowed'],
    ['/mutate/warn', {}, 405, 'MethodNotAllowed'],
    ['/mutate/warn/tls', { method: 'HEAD' }, 405, ''],
    ['/%zz', {}, 400, 'BadUrl'],
    ['/mutate', post('{'), 400, 'InvalidJson'],
    ['/mutate', post(''), 400, 'InvalidJson', /none came/],
    ['/mutate', post('{"a":{"__proto__":{"x":1}}}'), 400, 'InvalidJson', /__proto__/],
    ['/mutate', post('{"\\u005f_proto__":1}'), 400, 'InvalidJson'],
    ['/mutate', post('{"constructor":{"prototype":{"x":1}}}'), 400, 'InvalidJson'],
    ['/mutate', post('<a/>', 'application/xml'), 415, 'MediaType'],
    ['/fault', {}, 500, 'Internal'],
    ['/teapot', {}, 418, 'BadRequest'],
    ['/typed', post('{"n":"1"}'), 400, 'BadRequest'],
    ['/typed', post('{"n":1,"m":2}'), 400, 'BadRequest']
  ]
  for (const [path, options, status, code, message] of cases) {
    const reply = await ask(port, path, options)
    const what = `${options?.method ?? 'GET'} ${path} ${options?.body ?? ''}`
    t.equal(reply.status, status, `${what}: ${status}`)
    if (code !== '') {
      t.equal(reply.json().code, code, `${what}: ${code}`)
      t.match(reply.json().requestId, /^request-\d+$/, 'with the id of the request')
    }
    if (message) t.match(reply.json().message, message, 'and says what to do')
    if (status === 405) t.equal(reply.headers.allow, 'POST', 'with the method that it takes')
    t.notMatch(reply.text, /hunter2|secret detail/, 'nothing of what is inside')
  }
  t.strictSame(
    statuses,
    cases.map(([, , status]) => status),
    'every reply is counted'
  )
  const fault = log()
    .split('\n')
    .find(line => line.includes('a request failed'))
  t.match(
    JSON.parse(fault ?? '{}'),
    { level: 'error', path: '/fault', requestId: /^request-/, err: { code: 'EDATABASE' } },
    'the log has the fault under the same id'
  )
})

t.test(
  'attack 32: who has no client certificate of the right CA cannot ask the webhook',
  async t => {
    const folder = t.testdir({})
    const files = clientCertificates(folder)
    const clientCa = await readClientCa(files.ca)
    const { port, listener, log } = await start(t, { options: { clientCa } })
    const asking = (
      name: string,
      options: Pick<RequestOptions, 'minVersion' | 'maxVersion'> = {}
    ) =>
      ask(port, '/', { ...files.pair(name), ...options }).then(
        ({ status }) => String(status),
        () => 'closed'
      )
    t.equal(await asking('api-server'), '200', 'the API server is served')
    t.equal(await ask(port).then(String, () => 'closed'), 'closed', 'nobody without a certificate')
    t.equal(await asking('foreign'), 'closed', 'none of another CA')
    t.equal(await asking('ended'), 'closed', 'none that is over')
    t.equal(await asking('server-only'), 'closed', 'none that is not for clients')
    t.equal(
      await asking('foreign', { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }),
      'closed',
      'nor by TLS 1.2'
    )
    t.match(log(), /a TLS handshake failed/, 'the log knows')

    listener.useServing(pair)
    t.equal(await asking('foreign'), 'closed', 'a new server certificate does not end the check')
    const told: unknown[] = []
    const reload = createClientCaReload({
      file: files.ca,
      initial: clientCa,
      use: listener.useClientCa,
      onDone: () => told.push('done'),
      onFailed: error => told.push((error as ClientCaError).code)
    })
    for (const _ of ['a mistake', 'the same again']) {
      await writeFile(files.ca, clientCa)
      await reload.look()
      await writeFile(files.ca, 'no certificate')
      await reload.look()
      await reload.look()
    }
    t.strictSame(
      told,
      ['Malformed', 'done', 'Malformed'],
      'a file that is wrong is said, each time'
    )
    t.equal(await asking('foreign'), 'closed', 'and opens nothing')
    t.equal(await asking('api-server'), '200', 'nor shuts anybody out')
    await writeFile(files.ca, await readFile(files.otherCa))
    await reload.look()
    t.equal(await asking('foreign'), '200', 'a new CA holds at once')
    t.equal(await asking('api-server'), 'closed', 'instead of the former one')

    await t.rejects(readClientCa(join(folder, 'none')), { code: 'Unreadable' }, 'no file')
    await t.rejects(readClientCa(join(folder, 'api-server.crt')), { code: 'Malformed' }, 'no CA')
    const open = await start(t)
    t.throws(
      () => open.listener.useClientCa(clientCa),
      'who began without a check does not pretend'
    )
  }
)

/** By openssl: two CAs, and certificates that are right or wrong in one way each. */
function clientCertificates(folder: string) {
  const file = (name: string) => join(folder, name)
  const openssl = (...words: string[]) => execFileSync('openssl', words, { stdio: 'pipe' })
  const authority = (name: string) =>
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', `/CN=${name}`, '-days', '2', '-addext', 'basicConstraints=critical,CA:TRUE'],
      ...['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)]
    )
  const leaf = (name: string, by: string, usage: string, days = '1') => {
    writeFileSync(file('extensions'), `extendedKeyUsage=${usage}\nbasicConstraints=CA:FALSE\n`)
    openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', `/CN=${name}`, '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`)]
    )
    openssl(
      ...['x509', '-req', '-in', file(`${name}.csr`), '-CA', file(`${by}.crt`)],
      ...['-CAkey', file(`${by}.key`), '-CAcreateserial', '-days', days],
      ...['-extfile', file('extensions'), '-out', file(`${name}.crt`)]
    )
  }
  authority('ca')
  authority('other')
  leaf('api-server', 'ca', 'clientAuth')
  leaf('foreign', 'other', 'clientAuth')
  leaf('server-only', 'ca', 'serverAuth')
  leaf('ended', 'ca', 'clientAuth', '-1')
  return {
    ca: file('ca.crt'),
    otherCa: file('other.crt'),
    pair: (name: string) => ({
      cert: readFileSync(file(`${name}.crt`), 'utf8'),
      key: readFileSync(file(`${name}.key`), 'utf8')
    })
  }
}

t.test('a header of the client chooses neither its address nor its request id', async t => {
  const { port } = await start(t, {
    register(app) {
      app.get('/', (request, reply) =>
        reply.send({ ip: request.ip, id: request.id, host: request.hostname })
      )
    }
  })
  const { text } = await ask(port, '/', {
    headers: {
      'x-forwarded-for': '10.0.0.1',
      'x-real-ip': '10.0.0.1',
      forwarded: 'for=10.0.0.1',
      'request-id': 'mine',
      'x-request-id': 'mine'
    }
  })
  t.match(JSON.parse(text), { ip: '127.0.0.1', id: 'request-1' }, 'both are our own')
})

t.test(
  'a new certificate is shown to new connections alone, and every option of TLS stays',
  async t => {
    const { port, listener } = await start(t)
    const kept = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => kept.destroy())
    const before = await ask(port, '/', { agent: kept })
    const next = servingPair()
    listener.useServing(next)
    t.equal(
      (await ask(port, '/', { agent: kept })).fingerprint,
      before.fingerprint,
      'an open connection goes on'
    )
    const after = await ask(port, '/', { ca: next.ca })
    t.not(after.fingerprint, before.fingerprint, 'a new one sees the new certificate')
    t.match(
      await sClient(port, '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'),
      /alert/,
      'TLS 1.1 is refused as before'
    )
    t.match(
      await sClient(port, '-tls1_2', '-cipher', 'AES128-SHA:@SECLEVEL=0'),
      /alert handshake failure/,
      'and so are weak suites'
    )

    t.throws(
      () => listener.useServing({ ...pair, privateKey: next.privateKey }),
      'a pair that does not fit is thrown back'
    )
    t.equal(
      (await ask(port, '/', { ca: next.ca })).fingerprint,
      after.fingerprint,
      'and the one in use stays'
    )
  }
)

t.test(
  'at the end requests under way are answered, and every reply asks for a new connection',
  async t => {
    let letGo = () => {}
    const gate = new Promise<void>(resolve => {
      letGo = resolve
    })
    let arrived = () => {}
    const underWay = new Promise<void>(resolve => {
      arrived = resolve
    })
    const { port, listener } = await start(t, {
      register(app) {
        echo(app)
        app.get('/slow', async () => {
          arrived()
          await gate
          return { slow: true }
        })
      }
    })
    const kept = new Agent({ keepAlive: true })
    t.teardown(() => kept.destroy())
    t.not((await ask(port, '/', { agent: kept })).headers.connection, 'close', 'kept alive before')
    listener.drain()
    t.equal(
      (await ask(port, '/', { agent: kept })).headers.connection,
      'close',
      'closed while draining'
    )
    const slow = ask(port, '/slow')
    await underWay
    const closed = listener.close()
    await t.rejects(ask(port), 'new connections are refused')
    letGo()
    t.match(await slow, { status: 200, text: '{"slow":true}' }, 'what was under way is answered')
    await closed
    await listener.close()
    t.pass('and closing twice is closing once')
  }
)

t.test('cutting ends what hangs, even in the middle of a handshake', async t => {
  const { port, listener } = await start(t, {
    register(app) {
      app.get('/never', () => new Promise(() => {}))
    }
  })
  const silent = await openTcp(port)
  const hanging = await openTls(port, { ca: pair.ca })
  hanging.send('GET /never HTTP/1.1\r\nhost: a\r\n\r\n')
  const closed = listener.close()
  listener.cut()
  t.equal(await silent.ended(), '', 'the silent one')
  t.equal(await hanging.ended(), '', 'the one that waits')
  await closed
})

t.test('a port that cannot be had names the setting', async t => {
  const other = createServer()
  await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
  t.teardown(() => other.close())
  const { port } = other.address() as { port: number }
  const common = {
    name: 'ops',
    limits: limits.ops,
    register: echo,
    requestId: () => '',
    log: createLogger({ level: 'error' })
  }
  const inUse = await createListener({ ...common, address: '127.0.0.1', port })
  await t.rejects(inUse.start(), {
    code: 'PortInUse',
    message: new RegExp(`listen\\.ops\\.port: .*${port}`)
  })
  const elsewhere = await createListener({ ...common, address: '192.0.2.1', port: 0 })
  await t.rejects(elsewhere.start(), {
    code: 'Address',
    message: /listen\.ops\.address: .*192\.0\.2\.1/
  })
  t.throws(() => inUse.useServing(pair), 'a listener without TLS has no certificate')
  await inUse.close()
  await elsewhere.close()

  const place = { name: 'webhook', address: '::', port: 80 }
  const codes = ['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EMFILE'].map(
    code => listenError(Object.assign(new Error(), { code }), place).code
  )
  t.strictSame(codes, ['PortInUse', 'PortForbidden', 'Address', 'Address', 'Listen'], 'each code')
})

t.test('on a node without IPv6 every address is every IPv4 address', async t => {
  const server = createServer()
  const listen = server.listen.bind(server)
  // What a kernel without IPv6 answers.
  server.listen = ((options: { host: string; port: number }, done: () => void) => {
    if (options.host !== '::') return listen(options, done)
    process.nextTick(() =>
      server.emit('error', Object.assign(new Error(), { code: 'EAFNOSUPPORT' }))
    )
    return server
  }) as typeof server.listen
  t.teardown(() => server.close())
  const { address } = await listenOn(server, { name: 'ops', address: '::', port: 0 })
  t.equal(address, '0.0.0.0', 'instead of ::')
})

t.test('every address of both families is listened on by default', async t => {
  const { port } = await start(t, { options: { address: '::' } })
  t.equal((await ask(port)).status, 200, 'IPv4 reaches it')
})

t.test('attack: bytes at random crash nothing', async t => {
  const { port } = await start(t)
  for (let seed = 0; seed < 30; seed++) {
    const connection = seed % 2 ? await openTls(port, { ca: pair.ca }) : await openTcp(port)
    connection.send(
      String.fromCharCode(
        ...Array.from({ length: 300 }, (_, at) => (at * 7919 + seed * 104_729) % 256)
      )
    )
    connection.socket.end()
    await connection.ended()
  }
  t.equal((await ask(port)).status, 200, 'the next client is served')
})
