import t, { type Test } from 'tap'
import { createKnownKeys } from '../../src/enrollment/keys.ts'
import { createQuota } from '../../src/flow/quota.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { type Stage, startStage } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'

t.test('a quota is used up at once and comes back with time', async t => {
  let now = 0
  const quota = createQuota({ burst: 3, periodSeconds: 30, clock: () => now })
  t.same(
    [1, 2, 3].map(() => quota.take('a')),
    [0, 0, 0],
    'three may be taken at once'
  )
  t.equal(quota.take('a'), 10, 'the fourth has to wait for ten seconds')
  t.equal(quota.take('b'), 0, 'another key has its own')
  now = 4_000
  t.equal(quota.take('a'), 6, 'after four seconds six are left')
  now = 10_000
  t.equal(quota.take('a'), 0, 'then there is one again')
  now = 5_000
  t.ok(quota.take('a') > 0, 'a clock that goes back gives nothing')
  quota.giveBack('a')
  t.equal(quota.take('a'), 0, 'what was given back can be taken')
  now = 1_000_000
  quota.giveBack('a')
  t.same(
    [1, 2, 3].map(() => quota.take('a')),
    [0, 0, 0],
    'it is never more than full'
  )
  t.ok(quota.take('a') > 0, 'nor less than it was')
})

t.test('a key belongs to the first pod that shows it, until it is forgotten', async t => {
  const keys = createKnownKeys(2)
  t.ok(keys.claim('one', 'a'), 'the first pod')
  t.ok(keys.claim('one', 'a'), 'the same again')
  t.notOk(keys.claim('one', 'b'), 'attack 10: another pod with the same key')
  keys.claim('two', 'a')
  keys.claim('three', 'a')
  t.ok(keys.claim('one', 'b'), 'memory is bounded')
})

async function stageWithPods(t: Test, options: Parameters<typeof startStage>[0]): Promise<Stage> {
  const stage = await startStage(options)
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  return stage
}

t.test('attack 44: a pod gets so many certificates an hour and no more', async t => {
  const stage = await stageWithPods(t, { quota: { perPod: 2, perNamespace: 3 } })
  const first = await stage.run(rayPod({ name: 'first', ips: ['127.0.0.2'] }))
  const second = await stage.run(rayPod({ name: 'second', ips: ['127.0.0.3'] }))
  t.equal((await stage.enroll(first)).status, 201, 'one')
  t.equal((await stage.enroll(first)).status, 201, 'two')
  const third = await stage.enroll(first)
  t.match(third, { status: 503, body: { code: 'QuotaExceeded' } }, 'not three')
  t.equal(third.headers['retry-after'], '1800', 'it is told when')
  t.equal((await stage.enroll(second)).status, 201, 'another pod may')
  const exhausted = await stage.enroll(second)
  t.match(
    exhausted,
    { status: 503, body: { code: 'QuotaExceeded' } },
    'until the namespace is done'
  )
  t.match(stage.observed.at(-1)?.outcome, { reason: 'of the namespace' }, 'which the log says')
})

t.test('a certificate that was not made is not counted', async t => {
  const stage = await stageWithPods(t, { quota: { perPod: 1, perNamespace: 1 } })
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  stage.authority.bend = () => {
    throw new Error('no paper')
  }
  for (let attempt = 0; attempt < 3; attempt++)
    t.match(
      await stage.enroll(pod),
      { body: { code: 'AuthorityUnavailable' } },
      'the authority fails'
    )
  stage.authority.bend = undefined
  t.equal((await stage.enroll(pod)).status, 201, 'and then it works')
})

t.test('who has gone is not worked for, not signed for and not counted', async t => {
  const stage = await stageWithPods(t, { quota: { perPod: 1, perNamespace: 10 } })
  const serviceName = 'demo-head-svc'
  const owner = stage.standIn.put(
    rayCluster('demo', { head: { podName: 'demo-head', serviceName } })
  )
  stage.standIn.put(serviceOf(owner, serviceName))
  const pod = await stage.run(rayPod({ name: 'demo-head', node: 'head', ips: ['127.0.0.2'] }))
  const csr = createCertificateRequest(newKey())
  const steps = [/\/pods\/[^/]+$/, /\/rayclusters\//, /\/services\//, /\/namespaces\/[^/]+$/]
  for (const step of steps) {
    const client = new AbortController()
    stage.standIn.interfere(({ path }) => {
      if (step.test(path)) client.abort()
      return undefined
    })
    const outcome = await stage.enrollment.enroll({
      ...{ csr, podIPs: ['127.0.0.2'], sourceAddress: '127.0.0.2', signal: client.signal },
      authorization: `Bearer ${stage.standIn.issueToken(pod)}`
    })
    t.match(outcome, { allowed: false, code: 'NotReady' }, `${step}`)
    t.match(stage.standIn.requests.at(-1), step, 'the API is asked nothing more')
  }
  stage.standIn.interfere(undefined)
  t.equal(stage.authority.issued.length, 0, 'nothing was signed')
  t.equal((await stage.enroll(pod, { csr })).status, 201, 'the pod has its quota still')
})

t.test('attack 44: a certificate that was made is counted, also where it is of no use', async t => {
  const stage = await stageWithPods(t, { quota: { perPod: 2, perNamespace: 10 } })
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  let made = 0
  stage.authority.bend = request => {
    made += 1
    return { ...request, lifetimeSeconds: 600 }
  }
  const codes: unknown[] = []
  for (let attempt = 0; attempt < 4; attempt++) codes.push((await stage.enroll(pod)).body.code)
  const [bad, none] = ['AuthorityUnavailable', 'QuotaExceeded']
  t.same(codes, [bad, bad, none, none], 'then no more is asked of an authority that signs wrongly')
  t.equal(made, 2, 'two were made')
})

t.test('attack 44: no more requests are at work than the limit', async t => {
  const stage = await stageWithPods(t, { maximumConcurrent: 1 })
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const reached = new Promise<void>(resolve => {
    stage.standIn.interfere(() => {
      resolve()
      return { until: held }
    })
  })
  const first = stage.enroll(pod)
  await reached
  t.equal(stage.enrollment.concurrent, 1, 'one is at work')
  t.match(await stage.enroll(pod), { status: 503, body: { code: 'NotReady' } }, 'the next is not')
  release()
  stage.standIn.interfere(undefined)
  t.equal((await first).status, 201, 'the first one is served')
  t.equal(stage.enrollment.concurrent, 0, 'none is left')
})

/** Every call of the API waits until it is let go. */
function holdBack(stage: Stage, which: RegExp) {
  const seen: string[] = []
  let release = () => {}
  const until = new Promise<void>(resolve => {
    release = resolve
  })
  stage.standIn.interfere(({ path }) => {
    if (!which.test(path)) return undefined
    seen.push(path)
    return { until }
  })
  return { seen, release }
}

async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

t.test('attack 44: so many are worked on at one time, who is held gives the turn back', async t => {
  const stage = await stageWithPods(t, { atWork: 1, hold: { requests: 10, timeoutMs: 20_000 } })
  const hidden = stage.standIn.put(rayPod({ name: 'hidden' }))
  const held = stage.enroll(hidden, { podIPs: ['127.0.0.4'], from: '127.0.0.4' })
  await untilTrue(() => stage.enrollment.held === 1)
  const [first, second] = [
    await stage.run(rayPod({ name: 'first', ips: ['127.0.0.2'] })),
    await stage.run(rayPod({ name: 'second', ips: ['127.0.0.3'] }))
  ]
  t.equal((await stage.enroll(first)).status, 201, 'the one that waits keeps nobody out')
  const pods = holdBack(stage, /\/pods\/(first|second)$/)
  const both = [stage.enroll(first), stage.enroll(second)]
  await untilTrue(() => stage.enrollment.concurrent === 3 && pods.seen.length === 1)
  // Both tokens are reviewed before a turn is asked for.
  const reviews = () => stage.standIn.requests.filter(line => line.endsWith('/tokenreviews')).length
  await untilTrue(() => reviews() === 4)
  t.equal(pods.seen.length, 1, 'one is worked on, the other waits')
  pods.release()
  t.same(
    (await Promise.all(both)).map(({ status }) => status),
    [201, 201],
    'both are served'
  )
  stage.standIn.put({
    ...hidden,
    status: { ...hidden.status, podIP: '127.0.0.4', podIPs: [{ ip: '127.0.0.4' }] }
  })
  t.equal((await held).status, 201, 'and so is the one that waited')
})

t.test('who waits too long for a turn is told to come again, and is then served', async t => {
  const stage = await stageWithPods(t, { atWork: 1, waitMs: 20 })
  const first = await stage.run(rayPod({ name: 'first', ips: ['127.0.0.2'] }))
  const second = await stage.run(rayPod({ name: 'second', ips: ['127.0.0.3'] }))
  const pods = holdBack(stage, /\/pods\/first$/)
  const slow = stage.enroll(first)
  await untilTrue(() => pods.seen.length === 1)
  const late = await stage.enroll(second)
  t.match(late, { status: 503, body: { code: 'NotReady' } }, 'while the other one is worked on')
  t.ok(late.headers['retry-after'], 'with a time')
  pods.release()
  t.equal((await slow).status, 201, 'the one at work is served')
  t.equal((await stage.enroll(second)).status, 201, 'and then the other one')
})

t.test('attack 45: junk tokens wait for their reviews alone, and only so many of them', async t => {
  const stage = await stageWithPods(t, { identity: { reviews: { atOnce: 1, waiting: 1 } } })
  const [first, second, third] = await Promise.all(
    ['127.0.0.2', '127.0.0.3', '127.0.0.4'].map((ip, at) =>
      stage.run(rayPod({ name: `worker-${at}`, ips: [ip] }))
    )
  )
  if (!first || !second || !third) throw new Error('three pods were made')
  const reviews = holdBack(stage, /tokenreviews$/)
  const asked = stage.enroll(first)
  await untilTrue(() => reviews.seen.length === 1)
  const next = stage.enroll(second)
  await untilTrue(() => stage.enrollment.concurrent === 2)
  t.match(await stage.enroll(third), { status: 503, body: { code: 'NotReady' } }, 'too many wait')
  t.equal(reviews.seen.length, 1, 'and one review is under way')
  reviews.release()
  t.same(
    (await Promise.all([asked, next])).map(({ status }) => status),
    [201, 201],
    'two are served'
  )
})

/** Well-formed, with another signature. */
function forged(token: string): string {
  return `${token.slice(0, -8)}AAAAAAAA`
}

t.test('attack 45: a source gets so many attempts, whatever tokens it shows', async t => {
  let now = Date.now()
  const stage = await stageWithPods(t, { clock: () => now })
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  const other = await stage.run(rayPod({ name: 'other', ips: ['127.0.0.3'] }))
  const junk = () => forged(stage.standIn.issueToken(pod))
  const codes: (string | undefined)[] = []
  for (let attempt = 0; attempt < 120; attempt += 1)
    codes.push((await stage.enroll(pod, { token: junk() })).body.code)
  t.same([...new Set(codes)], ['TokenNotAuthenticated'], 'each of 120 tokens is refused as such')
  const reviews = () => stage.standIn.requests.filter(line => line.endsWith('/tokenreviews')).length
  const before = reviews()
  const late = await stage.enroll(pod)
  t.match(late, { status: 503, body: { code: 'QuotaExceeded' } }, 'then even a good one waits')
  t.equal(late.headers['retry-after'], '1', 'it is told how long')
  t.equal(reviews(), before, 'the API is not asked')
  t.equal((await stage.enroll(other)).status, 201, 'another address is not concerned')
  now += 1_000
  t.equal((await stage.enroll(pod)).status, 201, 'a second later the pod is served')

  const unchecked = await stageWithPods(t, { checkSourceAddress: false, clock: () => now })
  const shared = await unchecked.run(rayPod({ ips: ['10.0.0.7'] }))
  let last: string | undefined
  for (let attempt = 0; attempt < 125; attempt += 1) {
    const token = forged(unchecked.standIn.issueToken(shared))
    last = (await unchecked.enroll(shared, { token, from: '127.0.0.9' })).body.code
  }
  t.equal(last, 'TokenNotAuthenticated', 'where pods may share an address it is no key')
})
