/** With a CA for client certificates the webhook talks to nobody but the API server, which shows a certificate of it. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { review, workerPod } from '../support/builders.ts'
import { connect, eventually, skip } from '../support/cluster.ts'
import { makeCa, makePair } from '../support/cluster-certificates.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { warned } from '../support/cluster-served.ts'
import { openTls } from '../support/raw-connection.ts'

t.test('the API server alone may ask the webhook', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const pki = dirname(process.env.KUBECONFIG ?? '')
  const rayguard = await startRayguard(
    api,
    folder,
    {},
    { RAYGUARD_LISTEN_WEBHOOK_CLIENT_CA_FILE: join(pki, 'webhooks-ca.crt') }
  )
  t.teardown(async () => {
    await rayguard.unregister()
    await rayguard.stop()
    api.close()
  })

  // resolves once a Ray pod that the API server is asked for comes back injected
  await rayguard.register()
  t.pass('the API server asks, and a Ray pod gets its init container')
  await eventually('it asks about Ray resources, too', async () => (await warned('default')) !== '')

  const port = Number(new URL(rayguard.webhookUrl).port)
  const body = JSON.stringify(review(workerPod()))
  const ask = async (certificate: { cert?: string; key?: string }) => {
    const options = { ca: rayguard.servingCa, servername: '', ...certificate }
    const connection = await openTls(port, options).catch(() => undefined)
    if (connection === undefined) return ''
    connection.send(
      `POST /mutate/warn/tls HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
    )
    return connection.ended()
  }
  const held = (certificate: string, key: string) => ({
    cert: readFileSync(certificate, 'utf8'),
    key: readFileSync(key, 'utf8')
  })
  const foreign = makePair(folder, 'foreign', makeCa(folder, 'foreign-ca'), 'DNS:kube-apiserver')
  t.match(
    await ask(held(join(pki, 'webhooks.crt'), join(pki, 'webhooks.key'))),
    /^HTTP\/1\.1 200 .*"allowed":true/s,
    'with the certificate of the API server'
  )
  t.equal(await ask({}), '', 'without a certificate there is no answer')
  t.equal(
    await ask(held(join(pki, 'admin.crt'), join(pki, 'admin.key'))),
    '',
    'nor to an administrator of the cluster'
  )
  t.equal(
    await ask(held(foreign.certificateFile, foreign.privateKeyFile)),
    '',
    'nor to a certificate of another CA with the same name'
  )
})
