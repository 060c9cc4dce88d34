/** CAs are not made without end, whoever forges RayClusters and pods. */
import t from 'tap'
import { secretOf } from '../../src/authority/per-cluster/entries.ts'
import type { ClusterPod } from '../../src/authority/per-cluster/standing.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import {
  cluster,
  dayMs,
  head,
  openPerCluster,
  upkeepOf,
  whenAllWrite
} from '../support/per-cluster-stage.ts'

const { external, stage, workshop } = openPerCluster(t)
const tooMany = { code: 'Exhausted' }
/** Its CAs stand in the same Secret as those of `team`. */
const beside = Array.from({ length: 1000 }, (_, index) => `team-${index}`).find(
  name => secretOf(name) === secretOf('team')
)

t.test('attack 76: forged RayClusters do not mint CAs without end', async t => {
  const { replica, changes, time } = await stage(t)
  const flood = replica({ perNamespace: 3 })
  for (let made = 0; made < 3; made += 1) await flood.issue(cluster(`c${made}`))
  await t.rejects(flood.issue(cluster('c3')), tooMany, 'the fourth of its namespace')
  t.ok(await flood.issue(cluster('c', beside)), 'another namespace of the same Secret has its own')
  t.equal(flood.inner.made, 4, 'the CA was not asked')
  t.ok(changes.includes('refused c3'), 'it is told')
  time.now += 2 * 3_600_000
  await t.rejects(flood.issue(cluster('c3')), tooMany, 'an hour later it still holds three')
  const anew = replica({ perNamespace: 3 })
  await t.rejects(anew.issue(cluster('c3')), tooMany, 'and in a replica that was started anew')
  t.equal(anew.inner.made, 0, 'which has not asked the CA either')
  const gone = upkeepOf(flood, { exists: async () => false, clock: () => time.now })
  await gone.look()
  time.now += 11 * 60_000
  await gone.look()
  t.equal(
    changes.filter(each => each.startsWith('removed')).length,
    4,
    'gone with their RayClusters'
  )
  t.ok(await flood.issue(cluster('c3')), 'and there is room again')
})

t.test('attack 76: without a head that lives no CA is made', async t => {
  const { replica, pods, changes } = await stage(t)
  const { issue, inner } = replica()
  const one = cluster('one')
  const worker: ClusterPod = { node: 'worker', createdAt: Date.now(), certificate: 'unknown' }
  for (const live of [[], [worker], [worker, worker]]) {
    pods.set(one.uid, live)
    await t.rejects(issue(one), { code: 'TooEarly' }, `${live.length} pods: come again`)
  }
  t.equal(inner.made, 0, 'the CA was not asked')
  pods.set(one.uid, [worker, head(Date.now(), 'unknown')])
  const { trustAnchors } = await issue(one)
  t.equal(inner.made, 1, 'with its head')
  pods.set(one.uid, [worker])
  t.equal((await issue(one)).trustAnchors, trustAnchors, 'while the head is replaced it serves on')
  t.equal((await replica().issue(one)).trustAnchors, trustAnchors, 'in every replica')
  t.strictSame(changes, ['made one'], 'the same CA')
})

t.test('attack 76: a CA that is signed wrongly is not asked for again at once', async t => {
  const { replica, time } = await stage(t)
  let wrong = true
  const right = external(() => time.now)
  const bends = external(() => time.now, {
    intermediates: {
      ...right.intermediates,
      problem: () => undefined,
      async issue(request) {
        if (!wrong) return (await right.intermediates?.issue(request)) ?? ''
        right.made += 1
        return workshop.read('root.crt')
      }
    }
  })
  const { issue } = replica({ authority: bends })
  const one = cluster('one')
  for (const _ of [1, 2, 3]) await t.rejects(issue(one), { code: 'Invalid' }, 'another key')
  t.equal(right.made, 1, 'asked once')
  wrong = false
  await t.rejects(issue(one), { code: 'Invalid' }, 'for a while')
  time.now += 5 * 60_000
  t.ok(await issue(one), 'then again')
})

t.test('attack 76: replicas that race do not exceed the quota together', async t => {
  const { replica, secret, standIn } = await stage(t)
  const most = 3
  const replicas = Array.from({ length: 3 }, () => replica({ perNamespace: most }))
  // all have counted, and have had their CAs signed, before the first of them writes
  whenAllWrite(standIn, replicas.length)
  const forged = replicas.flatMap(({ issue }, from) =>
    Array.from({ length: most + 1 }, (_, index) => ({ issue, to: cluster(`c${from}-${index}`) }))
  )
  const answers = await Promise.allSettled(forged.map(({ issue, to }) => issue(to)))
  t.equal(
    replicas.reduce((sum, { inner }) => sum + (inner.made ?? 0), 0),
    replicas.length * most,
    'each replica has asked for as many as the quota allows'
  )
  const stored = () => Object.keys(secret(secretOf('team'))?.data ?? {})
  t.equal(stored().length, most, 'no more stand there')
  t.equal(answers.filter(({ status }) => status === 'fulfilled').length, most, 'nor sign pods')
  for (const answer of answers) {
    if (answer.status === 'rejected') t.match(answer.reason, tooMany, 'the others are sent away')
  }
  standIn.interfere(undefined)
  const lost = forged.filter(({ to }) => !stored().includes(to.uid))
  for (const { issue, to } of lost) await t.rejects(issue(to), tooMany, 'as often as they come')
  t.equal(stored().length, most, 'it stays so')
})

t.test('attack 76: a full Secret takes in nobody, and those in it go on', async t => {
  const { replica, secret, standIn, time, changes } = await stage(t)
  const one = cluster('one')
  const fills = replica()
  await fills.issue(one)
  const { data, ...whole } = secret(secretOf(one.namespace)) as Secret
  const filler = Buffer.alloc(1000 * 1024).toString('base64')
  standIn.put({ ...whole, data: { ...data, filler } })
  await t.rejects(fills.issue(cluster('two')), tooMany, 'the API server would refuse the whole')
  time.now += 200 * dayMs
  await upkeepOf(fills).look()
  t.ok(changes.includes('renewed one'), 'what is there is renewed')
  t.ok(await fills.issue(one), 'and signs')
})
