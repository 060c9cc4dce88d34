/** How Vault is spoken to, against a server of the test's own: no real Vault can be made to hold its answers back. */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createTransport } from '../../src/authority/vault/transport.ts'
import { servingPair } from '../support/enrollment-stage.ts'

t.test('what looks whether Vault is there does not stand behind signatures', async t => {
  const pair = servingPair()
  const held: (() => void)[] = []
  const server = createServer(
    { cert: pair.certificate, key: pair.privateKey },
    (request, response) => {
      const answer = () => response.end('{}')
      if (request.url?.includes('/sign/')) held.push(answer)
      else answer()
    }
  ).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const address = `https://127.0.0.1:${port}`
  const transport = createTransport({ address, ca: pair.ca, timeoutMs: 60_000 })
  t.teardown(() => transport.close())
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
