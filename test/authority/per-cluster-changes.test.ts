/** A change of `trust`: what is written of it, and when it reaches a RayCluster. */
import t from 'tap'
import { entryIn, recordSecret, secretOf } from '../../src/authority/per-cluster/entries.ts'
import {
  freshMs,
  type Past,
  recordIn,
  settlingMs,
  type TrustRecord
} from '../../src/authority/per-cluster/record.ts'
import { unseenMs } from '../../src/authority/per-cluster/standing.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import {
  cluster,
  dayMs,
  ever,
  head,
  namespace,
  openPerCluster,
  upkeepOf
} from '../support/per-cluster-stage.ts'
import { makeCa } from '../x509/openssl.ts'

const minuteMs = 60_000
const { accepts, external, stage, workshop } = openPerCluster(t)

t.test('a change of the setting reaches a cluster when none of its pods is left', async t => {
  const { replica, pods, time, changes } = await stage(t)
  const root = workshop.read('root.crt')
  const since = time.now
  const old = cluster('old')
  pods.set(old.uid, [head(since - dayMs, 'held')])
  const record = async () => ({ ...ever, since })
  const now = replica({ record })
  time.now += dayMs
  t.equal((await now.issue(old)).trustAnchors, root, 'a new pod joins its cluster')
  t.equal((await replica({ record }).issue(old)).trustAnchors, root, 'in every replica')
  // its first pods are replaced one by one: those of now hold the shared CA too
  time.now += dayMs
  pods.set(old.uid, [head(since + dayMs, 'held')])
  t.equal((await now.issue(old)).trustAnchors, root, 'as long as any holds it')
  pods.delete(old.uid)
  t.equal((await now.issue(old)).trustAnchors, root, 'what was signed a moment ago counts')
  pods.set(old.uid, [head(time.now, 'unknown')])
  time.now += unseenMs + minuteMs
  t.equal((await now.issue(old)).trustAnchors, root, 'also in a pod that has not said so yet')
  time.now += unseenMs + minuteMs
  pods.set(old.uid, [head(time.now, 'unknown')])
  const anew = await now.issue(old)
  t.not(anew.trustAnchors, root, 'all made anew: a CA of its own')
  t.not((await now.issue(cluster('new'))).trustAnchors, root, 'as every new cluster')

  // and back
  time.now += dayMs
  const changed = { trust: 'shared' as const, since: time.now, settled: false }
  const back = replica({ record: async () => changed })
  const early = await back.issue(old)
  t.equal(early.trustAnchors, anew.trustAnchors, 'others may sign by the former setting still')
  time.now += settlingMs
  pods.set(old.uid, [head(time.now - 1, 'held')])
  t.equal(
    (await back.issue(old)).trustAnchors,
    anew.trustAnchors,
    'shared: a new pod joins its cluster'
  )
  pods.set(old.uid, [head(time.now, 'unknown')])
  time.now += unseenMs + minuteMs
  t.equal(
    (await back.issue(old)).trustAnchors,
    anew.trustAnchors,
    'what was there when it was signed the last time counts'
  )
  pods.delete(old.uid)
  time.now += unseenMs + minuteMs
  t.equal((await back.issue(old)).trustAnchors, root, 'then the shared CA')
  t.equal((await back.issue(cluster('more'))).trustAnchors, root, 'as every new cluster')
  t.match(changes, ['made old', 'made new', 'removed old'], 'told')
})

t.test('the CA outside is replaced while a change of the setting is under way', async t => {
  const { replica, pods, time } = await stage(t)
  makeCa(workshop, 'next', { days: 3650 })
  const record = async () => ({ ...ever, since: time.now - dayMs })
  const [own, written, silent] = [cluster('own'), cluster('written'), cluster('silent')]
  for (const each of [written, silent]) pods.set(each.uid, [head(time.now - 2 * dayMs, 'held')])
  const former = replica({ record })
  const anchor = (await former.issue(own)).trustAnchors
  t.equal((await former.issue(written)).trustAnchors, workshop.read('root.crt'), 'still shared')

  const next = replica({ record, authority: external(() => time.now, {}, 'next') })
  for (const each of [written, silent]) pods.set(each.uid, [head(time.now - 2 * dayMs, 'foreign')])
  t.equal((await next.issue(own)).trustAnchors, anchor, 'a CA of its own goes on')
  t.equal(
    (await next.issue(written)).trustAnchors,
    workshop.read('next.crt'),
    'on shared the new CA signs, as with shared itself'
  )
  await t.rejects(next.issue(silent), { code: 'Invalid' }, 'or it is refused')
  for (const each of [written, silent]) pods.set(each.uid, [head(time.now + 120_000, 'unknown')])
  time.now += unseenMs + minuteMs
  for (const each of [written, silent]) {
    const issued = await next.issue(each)
    t.ok(
      accepts(workshop.read('next.crt'), issued.trustAnchors, time.now),
      'made anew: by the next'
    )
  }
})

t.test('what holds is written down, and every replica works by it', async t => {
  const { secret, time, recordOf } = await stage(t)
  const written = () => recordIn(secret(recordSecret)?.data ?? {})
  const first = recordOf('perCluster')
  t.match(await first.current(), { trust: 'perCluster', since: 0 }, 'nothing is from before')
  const enters = recordOf('shared')
  t.match(await enters.current(), { trust: 'shared', since: time.now, settled: false }, 'changed')
  const since = time.now
  t.match(await first.current(), { since: 0 }, 'who read a moment ago does not ask again')
  time.now += freshMs + 1
  t.match(await first.current(), { trust: 'shared', since }, 'then works by what the other wrote')
  time.now = since + settlingMs
  t.match(await enters.current(), { trust: 'shared', since }, 'whose setting it is looks on')
  t.match(
    await first.current(),
    { trust: 'perCluster', since: time.now },
    'the other holds against'
  )
  time.now += freshMs + 1
  t.match(await enters.current(), written(), 'and one word stands')
  t.match(await recordOf('perCluster').current(), written(), 'who starts alike changes nothing')
  const reads = recordOf('perCluster')
  await reads.current()
  time.now += 1000
  const anew = await recordOf('shared').current()
  t.match(anew, { trust: 'shared', since: time.now }, 'who starts unlike does so at once')
  time.now -= freshMs + 1001
  t.match(
    await reads.current(),
    anew,
    'what a clock that was set back read is not from a moment ago'
  )
})

t.test('the first record says what may have been before it', async t => {
  for (const [what, setting, past, left, expected] of [
    ['a first installation', 'perCluster', {}, false, { since: 0 }],
    ['a replica that leaves no record', 'perCluster', { signed: true }, false, { since: 'now' }],
    ['the record was lost', 'perCluster', {}, true, { since: 'now' }],
    ['all was lost', 'perCluster', { signed: true, foreign: true }, false, { since: 'now' }],
    ['shared from the start', 'shared', {}, false, { settled: true }],
    ['so for long', 'shared', { signed: true }, false, { settled: true }],
    ['shared, and the record was lost', 'shared', {}, true, { settled: false }],
    ['shared, and all was lost', 'shared', { foreign: true }, false, { settled: false }]
  ] as [string, TrustRecord['trust'], Partial<Past>, boolean, { since?: unknown }][]) {
    const { time, recordOf, replica } = await stage(t)
    if (left) await replica().issue(cluster('left'))
    const found = await recordOf(setting, past).current()
    const wanted = expected.since === 'now' ? { since: time.now } : expected
    t.match(found, { trust: setting, ...wanted }, what)
    const unlike = setting === 'shared' ? 'perCluster' : 'shared'
    time.now += 1
    const next = await recordOf(unlike).current()
    t.equal(next.since, time.now, 'whoever comes second knows that there was something')
  }
})

t.test('who may not look does not sign', async t => {
  const { standIn, recordOf, replica } = await stage(t)
  standIn.interfere(({ path }) => (path.includes('/secrets') ? { status: 403 } : undefined))
  const record = recordOf('shared')
  const denied = replica({ record: record.current })
  await t.rejects(denied.issue(cluster('a')), { code: 'Unavailable' }, 'the pod comes again')
  standIn.interfere(undefined)
  const root = workshop.read('root.crt')
  t.equal((await denied.issue(cluster('a'))).trustAnchors, root, 'when the right is given')
  const asked = standIn.requests.length
  await Promise.all([1, 2, 3, 4].map(() => denied.issue(cluster('a'))))
  t.equal(standIn.requests.length, asked, 'what was read a moment ago serves all')
})

t.test('shared is settled when no CA is left, and not before all know', async t => {
  const { standIn, secret, time, recordOf, replica } = await stage(t)
  const one = cluster('one')
  await replica().issue(one)
  const whole = secret(secretOf(one.namespace)) as Secret
  const record = recordOf('shared')
  await record.current()
  const works = replica({ record: record.current })
  let foreign = false
  const upkeep = upkeepOf(works, { foreign: () => foreign })
  const settled = async () => {
    await upkeep.look()
    return recordIn(secret(recordSecret)?.data ?? {})?.settled
  }
  const put = (text: string) =>
    standIn.put({ ...whole, data: text ? { [one.uid]: text } : {} } as Secret)
  put('')
  t.notOk(await settled(), 'others may make one yet')
  await works.issue(cluster('claimed'))
  time.now += settlingMs - 1
  t.notOk(await settled(), 'to the last')
  t.ok(await works.secrets.hold(), 'who is on the shared CA is told apart as long')
  time.now += 1
  put(whole.data?.[one.uid] ?? '')
  t.notOk(await settled(), 'one is there')
  put(Buffer.from('{').toString('base64'))
  t.notOk(await settled(), 'what cannot be read may be one')
  put('')
  foreign = true
  t.notOk(await settled(), 'pods trust one that is lost')
  foreign = false
  t.ok(await settled(), 'nothing is left')
  t.notOk(await works.secrets.hold(), 'not of those on the shared CA either')
  time.now += freshMs + 1
  const asked = standIn.requests.length
  await works.issue(one)
  t.strictSame(
    standIn.requests.slice(asked),
    [`GET /api/v1/namespaces/${namespace}/secrets/${recordSecret}`],
    'from now on nobody looks there'
  )
})

t.test('a CA that was released does not come back with a lost Secret', async t => {
  const { replica, pods, time, secret, standIn } = await stage(t)
  const root = workshop.read('root.crt')
  for (const back of ['by a round', 'by the next pod']) {
    let record: TrustRecord = ever
    const one = cluster('one')
    const knows = replica({ record: async () => record })
    pods.set(one.uid, [head(time.now, 'unknown')])
    const { trustAnchors } = await knows.issue(one)
    const lose = () => standIn.remove(secret(secretOf(one.namespace)) as Secret)

    record = { trust: 'shared', since: time.now, settled: false }
    time.now += settlingMs + unseenMs
    pods.set(one.uid, [head(time.now - dayMs, 'foreign')])
    await upkeepOf(knows).look()
    lose()
    await upkeepOf(knows).look()
    t.equal((await knows.issue(one)).trustAnchors, trustAnchors, 'it does while pods trust it')

    time.now += unseenMs + minuteMs
    pods.set(one.uid, [head(time.now, 'unknown')])
    const others = replica({ record: async () => record })
    t.equal((await others.issue(one)).trustAnchors, root, 'another replica has released it')
    pods.set(one.uid, [head(time.now, 'held')])
    lose()
    if (back === 'by a round') {
      await upkeepOf(knows).look()
      t.equal(secret(secretOf(one.namespace)), undefined, 'nothing is written')
    }
    t.equal((await knows.issue(one)).trustAnchors, root, back)
  }
})

t.test('a change is not over in the round that brings a CA back, or fails to', async t => {
  for (const back of ['by the round', 'not at all', 'by a pod behind the round']) {
    const { standIn, secret, time, pods, replica, recordOf } = await stage(t)
    const one = cluster('one')
    let record: TrustRecord = ever
    const knows = replica({ record: async () => record })
    const { trustAnchors } = await knows.issue(one)
    // was there before, and has left no word that can be read
    pods.set(one.uid, [head(time.now - dayMs, 'unknown')])
    const written = () => recordIn(secret(recordSecret)?.data ?? {}) as TrustRecord
    record = await recordOf('shared', { foreign: true }).current()
    time.now += settlingMs + 1000
    await knows.issue(one)
    standIn.remove(secret(secretOf(one.namespace)) as Secret)

    let again: Promise<unknown> | undefined
    standIn.interfere(({ method, path }) => {
      if (back === 'not at all' && method === 'POST') return { status: 500 }
      if (!back.startsWith('by a pod') || !path.endsWith(`/${recordSecret}`)) return undefined
      again ??= knows.issue(one)
      return { until: again }
    })
    const looks = back.startsWith('by a pod') ? replica({ record: async () => record }) : knows
    await upkeepOf(looks, { onFault: () => {} }).look()
    standIn.interfere(undefined)
    await again
    const found = entryIn(secret(secretOf(one.namespace))?.data ?? {}, one.uid)
    t.equal(found !== undefined, back !== 'not at all', `it is back ${back}`)
    record = written()
    t.match(record, { trust: 'shared', settled: false }, 'so the change goes on')
    t.equal((await knows.issue(one)).trustAnchors, trustAnchors, 'and a new pod joins its cluster')
  }
})

t.test('a replica whose watch has died unseen releases no CA', async t => {
  const { time, pods, replica } = await stage(t)
  const one = cluster('one')
  let record: TrustRecord = ever
  const sees = replica({ record: async () => record })
  const blind = replica({ record: async () => record, podsOf: () => [] })
  const { trustAnchors } = await sees.issue(one)
  time.now += dayMs
  record = { trust: 'shared', since: time.now - settlingMs - 1000, settled: false }
  pods.set(one.uid, [head(time.now - dayMs, 'foreign')])
  t.equal((await sees.issue(one)).trustAnchors, trustAnchors, 'a new pod joins the others')
  time.now += 30_000
  pods.set(one.uid, [head(time.now, 'unknown')])
  t.equal((await sees.issue(one)).trustAnchors, trustAnchors, 'so does a new head, right after')
  // as long as its copy counts as good
  time.now += 150_000
  t.equal((await blind.issue(one)).trustAnchors, trustAnchors, 'its worker asks the other')
})
