/** How Vault is spoken to, against a server of the test's own: no real Vault can be made to hold its answers back. */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createSession } from '../../src/authority/vault/session.ts'
import { createTransport } from '../../src/authority/vault/transport.ts'
import { servingPair } from '../support/enrollment-stage.ts'
import { openWorkshop } from '../x509/openssl.ts'

/** Answers by the path and the token of a request, when `answer` is called. */
type Answers = (
  path: string,
  token: string,
  answer: (status: number, body?: object) => void
) => void

async function speakWith(t: Test, answers: Answers) {
  const pair = servingPair()
  const server = createServer(
    { cert: pair.certificate, key: pair.privateKey },
    (request, response) =>
      answers(
        request.url ?? '',
        `${request.headers['x-vault-token'] ?? ''}`,
        (status, body = {}) => {
          response.writeHead(status).end(JSON.stringify(body))
        }
      )
  ).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const address = `https://127.0.0.1:${port}`
  const transport = createTransport({ address, ca: pair.ca, timeoutMs: 60_000 })
  t.teardown(() => transport.close())
  return transport
}

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
  const auth = (token: string, seconds: number) => ({
    auth: { client_token: token, lease_duration: seconds, renewable: true }
  })
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
  const workshop = openWorkshop(t)
  const [roleIdFile, secretIdFile] = [workshop.write('role', 'r'), workshop.write('secret', 's')]
  const login = { kind: 'appRole', mount: 'approle', roleIdFile, secretIdFile } as const
  const session = await createSession({ transport, login, pauseMs: 1 })
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
