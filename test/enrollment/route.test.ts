import { X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import t from 'tap'
import { certificatesPath, maximumBodyBytes } from '../../src/contract/enrollment.ts'
import { retryAfter } from '../../src/enrollment/outcome.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { startStage } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import {
  controllerReference,
  namespace,
  rayCluster,
  rayPod,
  serviceOf
} from '../support/ray-objects.ts'

const loopback = ['IP Address:127.0.0.1', 'IP Address:0:0:0:0:0:0:0:1']
const namesIn = (body: Record<string, unknown>): string[] =>
  (new X509Certificate(String(body.certificate)).subjectAltName ?? '').split(', ')

t.test('a worker gets a certificate for its addresses and loopback alone', async t => {
  const stage = await startStage()
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const worker = rayPod({ ips: ['127.0.0.2', 'FD00:0::2'] })
  worker.metadata.annotations = { 'k8s.v1.cni.cncf.io/network-status': '[{"ips":["10.9.9.9"]}]' }
  worker.spec.hostname = 'victim'
  worker.spec.subdomain = 'victim-head-svc'
  const pod = await stage.run(worker)
  const { status, headers, body } = await stage.enroll(pod, {
    podIPs: ['fd00::2', '::ffff:127.0.0.2']
  })
  t.equal(status, 201, 'it is issued, however the addresses are spelt')
  t.same(
    namesIn(body),
    ['DNS:localhost', ...loopback, 'IP Address:127.0.0.2', 'IP Address:FD00:0:0:0:0:0:0:2'],
    'it has these names'
  )
  t.equal(headers['cache-control'], 'no-store', 'nobody on the way keeps it')
  const certificate = new X509Certificate(String(body.certificate))
  const anchor = new X509Certificate(String(body.trustAnchors))
  t.ok(certificate.verify(anchor.publicKey), 'node:crypto: the trust anchor has signed it')
  t.equal(certificate.serialNumber.toLowerCase(), body.serialNumber, 'the serial number is its own')
  t.equal(Date.parse(String(body.notAfter)), Date.parse(certificate.validTo), 'and so is its end')
  t.match(body.notBefore, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'dates are RFC 3339')
  t.match(stage.observed, [
    {
      code: 'Issued',
      sourceAddress: '::ffff:127.0.0.2',
      outcome: {
        allowed: true,
        durationSeconds: Number,
        facts: {
          pod: { namespace, name: 'demo-worker-1', uid: 'demo-worker-1-uid' },
          credentialId: /^JTI=/,
          rayCluster: 'demo',
          role: 'worker',
          serialNumber: body.serialNumber,
          spkiSha256: /^[0-9a-f]{64}$/
        }
      }
    }
  ])
})

t.test('a head gets the names of its Services as well', async t => {
  const stage = await startStage({ identity: { shortNames: false } })
  t.teardown(stage.close)
  const service = {
    apiVersion: 'ray.io/v1',
    kind: 'RayService',
    metadata: { name: 'shop', namespace, uid: 'shop-uid' }
  }
  const cluster = rayCluster('shop-x7k2p', {
    head: { podName: 'head-1', serviceName: 'shop-x7k2p-head-svc' }
  })
  cluster.metadata.ownerReferences = [controllerReference(service)]
  stage.standIn.put(service)
  stage.standIn.put(cluster)
  stage.standIn.put(serviceOf(cluster, 'shop-x7k2p-head-svc'))
  stage.standIn.put(serviceOf(cluster, 'shop-headless'))
  const wanted = rayPod({ name: 'head-1', cluster, node: 'head', ips: ['127.0.0.3'] })
  wanted.spec.hostname = 'host-0'
  wanted.spec.subdomain = 'shop-headless'
  const pod = await stage.run(wanted)
  const { body } = await stage.enroll(pod)
  t.same(
    namesIn(body).filter(name => name.startsWith('DNS')),
    [
      'DNS:localhost',
      'DNS:shop-x7k2p-head-svc.team-a.svc.cluster.local',
      'DNS:shop-head-svc.team-a.svc.cluster.local',
      'DNS:host-0.shop-headless.team-a.svc.cluster.local'
    ],
    'the Service of the RayCluster, that of its RayService and its own below the headless Service'
  )
})

t.test(
  'an authority that takes names from the request gets the right ones at the second try',
  async t => {
    const stage = await startStage()
    t.teardown(stage.close)
    stage.standIn.put(rayCluster())
    stage.authority.namesFrom = 'request'
    const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
    const key = newKey()
    const first = await stage.enroll(pod, { csr: createCertificateRequest(key) })
    t.equal(first.status, 409, 'the first request is told the names')
    const names = {
      dnsNames: first.body.dnsNames as string[],
      ipAddresses: first.body.ipAddresses as string[]
    }
    t.same(
      names,
      { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1', '127.0.0.2'] },
      'these'
    )
    const second = await stage.enroll(pod, { csr: createCertificateRequest(key, names) })
    t.equal(second.status, 201, 'the second one, with the same key, asks for them and gets them')
  }
)

t.test('what is not the request of the contract is refused before anything is asked', async t => {
  const stage = await startStage()
  t.teardown(stage.close)
  const good = { csr: 'x', podIPs: ['127.0.0.1'] }
  const odd: [string, string | object, Record<string, string>?][] = [
    ['an array', [good]],
    ['null', 'null'],
    ['no request', { podIPs: ['127.0.0.1'] }],
    ['a number as a request', { ...good, csr: 1 }],
    ['a request of 9 KiB', { ...good, csr: 'x'.repeat(9 * 1024) }],
    ['one member more', { ...good, dnsNames: ['victim'] }],
    ['one address as text', { ...good, podIPs: '127.0.0.1' }],
    ['no address', { ...good, podIPs: [] }],
    ['five addresses', { ...good, podIPs: Array(5).fill('127.0.0.1') }],
    ['a number as an address', { ...good, podIPs: [2130706433] }],
    ['an address as long as a book', { ...good, podIPs: ['1'.repeat(60)] }],
    ['half of JSON', '{"csr":'],
    ['nothing', ''],
    ['attack 39: __proto__', '{"csr":"x","podIPs":["127.0.0.1"],"__proto__":{"allowed":true}}'],
    ['a form', good, { 'content-type': 'application/x-www-form-urlencoded' }],
    ['text', good, { 'content-type': 'text/plain' }],
    ['attack 35: a body over the limit', { ...good, csr: 'x'.repeat(maximumBodyBytes) }]
  ]
  for (const [title, body, headers] of odd) {
    const reply = await stage.send({ body, headers: { authorization: 'Bearer a.b.c', ...headers } })
    t.match(reply, { status: 400, body: { code: 'BadRequest', requestId: String } }, title)
  }
  t.equal(stage.observed.length, odd.length, 'each of them is observed')
  const asked = stage.standIn.requests.filter(line => line !== 'GET /api/v1/pods')
  t.same(asked, [], 'the API was asked nothing')
})

t.test('attack 35: an endless body is cut at the limit', async t => {
  const stage = await startStage()
  t.teardown(stage.close)
  const sent = await new Promise<number>(resolve => {
    let bytes = 0
    const endless = httpsRequest(new URL(certificatesPath, stage.url), {
      method: 'POST',
      ca: stage.serverCa,
      headers: { 'content-type': 'application/json' }
    })
    endless.on('error', () => resolve(bytes))
    endless.on('response', answer => {
      answer.resume()
      answer.on('close', () => resolve(bytes))
    })
    endless.on('close', () => resolve(bytes))
    const more = () => {
      if (endless.destroyed || endless.writableEnded) return
      bytes += 4096
      endless.write('x'.repeat(4096), () => setImmediate(more))
    }
    more()
  })
  t.ok(sent < 16 * 1024 * 1024, 'the connection ended')
  t.equal(stage.observed[0]?.code, 'BadRequest', 'it is a refusal like any other')
})

t.test('attack 46: no token and no request in anything that is observed', async t => {
  const stage = await startStage()
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  const token = stage.standIn.issueToken(pod)
  const csr = createCertificateRequest(newKey())
  const bodyOfCsr = csr.split('\n')[1] ?? ''
  await stage.enroll(pod, { token, csr })
  await stage.enroll(pod, { token, csr: `${csr}junk` })
  await stage.enroll(pod, { token: `${token}x`, csr })
  stage.standIn.interfere(() => ({ status: 500, body: { message: 'so sorry' } }))
  await stage.enroll(pod, { token, csr })
  stage.standIn.interfere(() => ({ reset: true }))
  await stage.enroll(pod, { token, csr })
  stage.standIn.interfere(undefined)
  t.same(
    stage.observed.map(({ code }) => code),
    ['Issued', 'CsrMalformed', 'TokenNotAuthenticated', 'ApiUnavailable', 'ApiUnavailable'],
    'these outcomes'
  )
  const seen = JSON.stringify(stage.observed)
  t.notOk(seen.includes(token.slice(0, 60)), 'they hold no token')
  t.notOk(seen.includes(token.split('.')[2] ?? 'missing'), 'nor its signature')
  t.notOk(seen.includes(bodyOfCsr), 'nor a certificate request')
})

t.test('a server whose index of pods is not whole signs nothing', async t => {
  const stage = await startStage({ unsynced: true })
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  t.match(await stage.enroll(pod), { status: 503, body: { code: 'NotReady' } }, 'it says so')
  stage.pods.start()
  await stage.pods.whenSynced
  t.match(await stage.enroll(pod), { status: 201 }, 'and signs when it is')
})

t.test('an address whose source is not checked may come from anywhere', async t => {
  const stage = await startStage({ checkSourceAddress: false })
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  t.match(await stage.enroll(pod, { from: '127.0.0.9' }), { status: 201 }, 'as the setting says')
})

t.test('a refusal may bring its own time to come again', async t => {
  const refusal = { allowed: false, code: 'QuotaExceeded', reason: '' } as const
  t.equal(retryAfter({ ...refusal, retryAfterSeconds: 7 }), 7, 'its own')
  t.equal(retryAfter(refusal), 60, 'that of its code')
  t.equal(retryAfter({ ...refusal, code: 'PodNotFound' }), undefined, 'none where it means never')
})
