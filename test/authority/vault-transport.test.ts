/** How Vault is spoken to, against a server of the test's own: no real Vault can be made to hold its answers back. */
import { once } from 'node:events'
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { readIssuer } from '../../src/authority/vault/issuer.ts'
import { createSession } from '../../src/authority/vault/session.ts'
import { createTransport } from '../../src/authority/vault/transport.ts'
import { servingPair } from '../support/enrollment-stage.ts'
import { openWorkshop } from '../x509/openssl.ts'

/** Answers by the path and the token of a request, when `answer` is called. */
type Answers = (
  path: string,
  token: string,
  answer: (status: number, body?: object, headers?: OutgoingHttpHeaders) => void,
  headers: IncomingHttpHeaders
) => void

const pair = servingPair()

async function listen(t: Test, answers: Answers): Promise<string> {
  const server = createServer(
    { cert: pair.certificate, key: pair.privateKey },
    (request, response) =>
      answers(
        request.url ?? '',
        `${request.headers['x-vault-token'] ?? ''}`,
        (status, body = {}, headers = {}) => {
          response.writeHead(status, headers).end(JSON.stringify(body))
        },
        request.headers
      )
  ).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return `https://127.0.0.1:${port}`
}

async function speakWith(
  t: Test,
  answers: Answers,
  options: { namespace?: string; timeoutMs?: number } = {}
) {
  const address = await listen(t, answers)
  const transport = createTransport({ address, ca: pair.ca, timeoutMs: 60_000, ...options })
  t.teardown(() => transport.close())
  return transport
}

function appRole(t: Test) {
  const workshop = openWorkshop(t)
  const [roleIdFile, secretIdFile] = [workshop.write('role', 'r'), workshop.write('secret', 's')]
  return { kind: 'appRole', mount: 'approle', roleIdFile, secretIdFile } as const
}

const auth = (token: string, seconds: number) => ({
  auth: { client_token: token, lease_duration: seconds, renewable: true }
})

t.test('what looks whether Vault is there does not stand behind signatures', async t => {
  const held: (() => void)[] = []
  const transport = await speakWith(t, (path, _, answer) => {
    if (path.includes('/sign/')) held.push(() => answer(200))
    else answer(200)
  })
  const asked = Array.from({ length: 40 }, () =>
    transport.call({ method: 'POST', path: 'pki/sign/ray-pods', body: {}, repeatable: true })
  )
  const look = () =>
    transport.call({ method: 'GET', path: 'pki/issuer/x', repeatable: true, ahead: true })
  t.match(await look(), { status: 200 }, 'while all turns of signatures are taken')
  while (held.length < 16) await look()
  await look()
  t.equal(held.length, 16, 'and no more of them are at work than without it')
  const release = setInterval(() => {
    for (const answer of held.splice(0)) answer()
  }, 1)
  t.equal((await Promise.all(asked)).length, 40, 'none is lost')
  clearInterval(release)
})

t.test('a token that was given up does not come back with its renewal', async t => {
  const calls: string[] = []
  let logins = 0
  let renew = () => {}
  const renewing = new Promise<void>(resolve => {
    renew = resolve
  })
  let release = () => {}
  const transport = await speakWith(t, (path, token, answer) => {
    calls.push(`${path.split('/').at(-1)} ${token}`)
    if (path.endsWith('/login')) {
      logins += 1
      answer(200, auth(`t${logins}`, logins === 1 ? 0.3 : 3600))
    } else if (path.endsWith('/renew-self')) {
      release = () => answer(200, auth('t1', 3600))
      renew()
    } else if (path.includes('/sign/')) answer(token === 't1' ? 403 : 200)
    else answer(200)
  })
  const session = await createSession({ transport, login: appRole(t), pauseMs: 1 })
  await renewing
  await session.post('pki/sign/ray-pods', {})
  release()
  // behind what the renewal does when its answer has come
  await transport.call({ method: 'GET', path: 'sys/health', repeatable: true })
  await session.post('pki/sign/ray-pods', {})
  while (!calls.includes('revoke-self t1')) await sleep(5)
  t.strictSame(
    calls.filter(call => /^(ray-pods|revoke)/.test(call)).sort(),
    ['ray-pods t1', 'ray-pods t2', 'ray-pods t2', 'revoke-self t1'],
    'the one that took its place stays'
  )
  t.equal(logins, 2)
  await session.close()
})

/** Logins that are answered one after the other; each token but the last is denied all signatures. */
async function loggingIn(t: Test, statuses: number[], pauseMs: number) {
  const at: number[] = []
  const transport = await speakWith(t, (path, token, answer) => {
    if (path.endsWith('/login')) {
      const status = statuses[at.push(performance.now()) - 1] ?? 200
      answer(status, status === 200 ? auth(`t${at.length}`, 3600) : {})
    } else if (path.includes('/sign/')) answer(token === `t${statuses.length}` ? 200 : 403)
    else answer(200)
  })
  /** Long enough for whatever is due. */
  const turns = async () => {
    for (let count = 0; count < 50; count += 1) {
      await transport.call({ method: 'GET', path: 'sys/health', repeatable: true })
    }
  }
  const opening = createSession({ transport, login: appRole(t), pauseMs })
  return { at, opening, turns }
}

t.test('a login that failed is tried again by itself, ever more seldom', async t => {
  const { at, opening, turns } = await loggingIn(t, [200, 400, 503, 400, 400, 200], 20)
  const session = await opening
  while (session.problem() === undefined) {
    // denied, which is not believed of a token that is new
    await session.post('pki/sign/ray-pods', {}).catch(() => {})
  }
  t.match(session.problem(), /400/, 'the second one fails')
  while (session.problem() !== undefined) await sleep(5)
  t.equal(at.length, 6, 'nobody has asked for anything, and there is a token')
  const pauses = at.slice(2).map((ms, index) => ms - (at[index + 1] ?? 0))
  // a timer may be a millisecond early
  const early = pauses.filter((ms, index) => ms < 20 * 2 ** index - 2)
  t.strictSame(early, [], `at least 20, 40, 80 and 160 ms: ${pauses.map(Math.round)}`)
  await session.post('pki/sign/ray-pods', {})
  await turns()
  t.equal(at.length, 6, 'and no login more')
  await session.close()
})

t.test('no login is tried for what was not opened, or was closed', async t => {
  const first = await loggingIn(t, [400, 200], 1)
  await t.rejects(first.opening, { code: 'Refused' })
  await first.turns()
  t.equal(first.at.length, 1, 'whoever opens it decides when it is tried again')
  const later = await loggingIn(t, [200, 400, 200], 1)
  const session = await later.opening
  while (session.problem() === undefined) {
    await session.post('pki/sign/ray-pods', {}).catch(() => {})
  }
  await session.close()
  await later.turns()
  t.equal(later.at.length, 2, 'it is closed')
})

t.test('all who wait share the login that is tried by itself', async t => {
  let logins = 0
  let release: (() => void) | undefined
  const transport = await speakWith(t, (path, token, answer) => {
    if (path.endsWith('/login')) {
      logins += 1
      if (logins === 2) answer(503)
      else if (logins === 1) answer(200, auth('t1', 3600))
      else release = () => answer(200, auth(`t${logins}`, 3600))
    } else answer(token === 't1' ? 403 : 200)
  })
  const session = await createSession({ transport, login: appRole(t), pauseMs: 1 })
  while (session.problem() === undefined) await session.post('pki/sign/x', {}).catch(() => {})
  while (release === undefined) await sleep(1)
  const asked = Array.from({ length: 20 }, () => session.post('pki/sign/x', {}))
  release()
  t.equal((await Promise.all(asked)).length, 20, 'all have what they asked for')
  t.equal(logins, 3, 'by one login')
  await session.close()
})

t.test('the namespace goes with each call, and none where none is set', async t => {
  const seen: unknown[] = []
  const answers: Answers = (_path, _token, answer, headers) => {
    seen.push(headers['x-vault-namespace'])
    answer(200)
  }
  for (const options of [{ namespace: 'ml/team-a' }, {}]) {
    const transport = await speakWith(t, answers, options)
    await transport.call({ method: 'GET', path: 'pki/issuer/x', repeatable: true })
    await transport.call({ method: 'POST', path: 'a/login', body: {}, repeatable: false })
  }
  t.strictSame(seen, ['ml/team-a', 'ml/team-a', undefined, undefined])
})

/** As often as it takes to answer one call; all but these are answered well. */
async function triesOf(
  t: Test,
  answers: [number, object?, OutgoingHttpHeaders?][],
  repeatable = true
) {
  let tries = 0
  const transport = await speakWith(t, (_path, _token, answer) => {
    answer(...(answers[tries++] ?? [200]))
  })
  const { status } = await transport.call({ method: 'POST', path: 'x', body: {}, repeatable })
  return { status, tries }
}

t.test('what passes by itself is tried again, where that does no harm', async t => {
  const passing = [429, 500, 502, 503, 504].map(async status => {
    const [one, two, three] = await Promise.all([
      triesOf(t, [[status], [status]]),
      triesOf(t, [[status], [status], [status]]),
      triesOf(t, [[status]], false)
    ])
    t.strictSame(one, { status: 200, tries: 3 }, `${status} twice, and then well`)
    t.strictSame(two, { status, tries: 3 }, `${status} and no more`)
    t.strictSame(three, { status, tries: 1 }, `${status} for what may be one use of a secret id`)
  })
  await Promise.all(passing)
  for (const status of [400, 403, 404]) {
    t.strictSame(await triesOf(t, [[status]]), { status, tries: 1 }, `${status} does not pass`)
  }
  const sealed = await triesOf(t, [[503, { errors: ['Vault is sealed'] }]])
  t.strictSame(sealed, { status: 503, tries: 1 }, 'nor does a seal')
  for (const status of [429, 503]) {
    const found = await triesOf(t, [[status, {}, { 'retry-after': '3600' }]])
    t.strictSame(found, { status, tries: 1 }, `${status}: an hour is not waited for`)
  }
})

t.test('an answer that does not come in time is none', async t => {
  const transport = await speakWith(t, () => {}, { timeoutMs: 100 })
  for (const repeatable of [true, false]) {
    await t.rejects(
      transport.call({ method: 'POST', path: 'pki/sign/ray-pods', body: {}, repeatable }),
      { name: 'AuthorityError', code: 'Unavailable', message: /not in time/ },
      'pods come again'
    )
  }
})

t.test('attack 54: a redirect is not followed, and takes no token elsewhere', async t => {
  const elsewhere: string[] = []
  const other = await listen(t, (path, token, answer) => {
    elsewhere.push(`${path} ${token}`)
    answer(200, auth('t2', 3600))
  })
  for (const status of [301, 302, 307, 308]) {
    let redirects = 'login'
    const transport = await speakWith(t, (path, _token, answer) => {
      if (path.includes(redirects)) answer(status, {}, { location: `${other}${path}` })
      else answer(200, auth('t1', 3600))
    })
    const open = () => createSession({ transport, login: appRole(t), pauseMs: 1 })
    const expected = { code: 'Unavailable', message: /redirect/ }
    await t.rejects(open, expected, `${status}: of a login`)
    redirects = 'sign'
    const session = await open()
    await t.rejects(session.post('pki/sign/ray-pods', {}), expected, `${status}: of a signature`)
    redirects = 'issuer'
    await t.rejects(readIssuer(transport, 'pki', 'default'), expected, `${status}: of the CA`)
    await session.close()
  }
  t.strictSame(elsewhere, [], 'nothing has come there')
})
