import { X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import t from 'tap'
import { certificatesPath } from '../../src/contract/enrollment.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { type Stage, startStage } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { rayCluster, rayPod } from '../support/ray-objects.ts'

const patience = { hold: { requests: 500, timeoutMs: 20_000 } }

/** Settles once so many requests wait for their address. */
async function untilHeld(stage: Stage, requests: number): Promise<void> {
  while (stage.enrollment.held !== requests) await new Promise(resolve => setImmediate(resolve))
}

const withAddress = (pod: Pod, ip: string): Pod => ({
  ...pod,
  status: { ...pod.status, phase: 'Pending', podIP: ip, podIPs: [{ ip }] }
})

t.test(
  'attack 14: a request waits until the address is visible, and only then is served',
  async t => {
    const stage = await startStage(patience)
    t.teardown(stage.close)
    stage.standIn.put(rayCluster())
    const pod = stage.standIn.put(rayPod())
    const asked = stage.enroll(pod, { podIPs: ['127.0.0.2'], from: '127.0.0.2' })
    await untilHeld(stage, 1)
    stage.standIn.put(withAddress(pod, '127.0.0.2'))
    t.equal((await asked).status, 201, 'it is served without another request')
    t.ok(stage.observed[0]?.outcome.facts.heldSeconds !== undefined, 'the log says that it waited')
    const reads = stage.standIn.requests.filter(line => line.endsWith('/pods/demo-worker-1'))
    t.equal(reads.length, 2, 'the pod was read afresh once, not polled')
  }
)

t.test(
  'attack 13: an address that changes meanwhile is the one that is signed, or none',
  async t => {
    const stage = await startStage({ hold: { requests: 500, timeoutMs: 20_000 } })
    t.teardown(stage.close)
    stage.standIn.put(rayCluster())
    const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
    const asked = stage.enroll(pod, { podIPs: ['127.0.0.3'], from: '127.0.0.3' })
    await untilHeld(stage, 1)
    stage.standIn.put(withAddress(pod, '127.0.0.3'))
    const { status, body } = await asked
    t.equal(status, 201, 'the new address')
    const names = new X509Certificate(String(body.certificate)).subjectAltName ?? ''
    t.match(names, /127\.0\.0\.3/, 'is in the certificate')
    t.notMatch(names, /127\.0\.0\.2/, 'the former one is not')
  }
)

t.test('what is true before the wait is asked again after it', async t => {
  const stage = await startStage(patience)
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = stage.standIn.put(rayPod())
  const asked = stage.enroll(pod, { podIPs: ['127.0.0.2'], from: '127.0.0.2' })
  await untilHeld(stage, 1)
  const going = withAddress(pod, '127.0.0.2')
  going.metadata = { ...going.metadata, deletionTimestamp: new Date().toISOString() }
  stage.standIn.put(going)
  t.match(await asked, { status: 403, body: { code: 'PodTerminating' } }, 'the pod is going by now')
})

t.test('waiting has an end, and so has the number of those who wait', async t => {
  const stage = await startStage({ hold: { requests: 1, timeoutMs: 300 } })
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = stage.standIn.put(rayPod())
  const wishes = { podIPs: ['127.0.0.2'], from: '127.0.0.2' }
  const first = stage.enroll(pod, wishes)
  await untilHeld(stage, 1)
  t.match(await stage.enroll(pod, wishes), { body: { code: 'IPNotVisible' } }, 'one too many goes')
  const late = await first
  t.match(late, { status: 503, body: { code: 'IPNotVisible' } }, 'the time is over')
  t.equal(late.headers['retry-after'], '1', 'come again')
  t.equal(stage.enrollment.held, 0, 'nobody waits')
})

t.test('a client that goes away no longer waits', async t => {
  const stage = await startStage(patience)
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = stage.standIn.put(rayPod())
  const client = httpsRequest(new URL(certificatesPath, stage.url), {
    method: 'POST',
    ca: stage.serverCa,
    agent: false,
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${stage.standIn.issueToken(pod)}`
    }
  })
  client.on('error', () => {})
  client.end(JSON.stringify({ csr: createCertificateRequest(newKey()), podIPs: ['127.0.0.2'] }))
  await untilHeld(stage, 1)
  client.destroy()
  await untilHeld(stage, 0)
  t.pass('its place is free')
})

t.test('two hundred pods at once, each gets its own names', async t => {
  const stage = await startStage(patience)
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const count = 200
  const pods = Array.from({ length: count }, (_, at) =>
    stage.standIn.put(rayPod({ name: `worker-${at}` }))
  )
  const ipOf = (at: number) => `127.0.${1 + Math.floor(at / 250)}.${1 + (at % 250)}`
  const replies = pods.map((pod, at) => {
    const asked = stage.enroll(pod, { podIPs: [ipOf(at)], from: ipOf(at) })
    // Half of them are visible at once, half while they wait.
    if (at % 2 === 0) stage.standIn.put(withAddress(pod, ipOf(at)))
    return asked
  })
  await untilHeld(stage, count / 2)
  pods.forEach((pod, at) => {
    if (at % 2 === 1) stage.standIn.put(withAddress(pod, ipOf(at)))
  })
  const answers = await Promise.all(replies)
  const wrong = answers.filter(({ status }) => status !== 201)
  t.same(wrong, [], 'all are served')
  const names = answers.map(({ body }) => {
    const certificate = new X509Certificate(String(body.certificate))
    return certificate.subjectAltName?.split(', ').at(-1)
  })
  t.same(
    names,
    pods.map((_, at) => `IP Address:${ipOf(at)}`),
    'each with its own address'
  )
  const serials = new Set(answers.map(({ body }) => body.serialNumber))
  t.equal(serials.size, count, 'attack 48: and its own serial number')
})
