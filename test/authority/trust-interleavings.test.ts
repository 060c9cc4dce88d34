/** Whatever replicas of both settings of `trust` do beside each other, and whatever fails: no RayCluster is split. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { Authority } from '../../src/authority/authority.ts'
import { createLocalIssuer } from '../../src/authority/local.ts'
import { usableChain } from '../../src/authority/pem-files.ts'
import { openPemKey } from '../../src/authority/pem-key.ts'
import type { TrustSetting } from '../../src/authority/per-cluster/record.ts'
import { createWorld, type NewPod, type World } from '../support/trust-world.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const seed = Number(process.env.RAYGUARD_TEST_SEED ?? Math.trunc(performance.timeOrigin) % 2 ** 31)
t.comment(`seed ${seed}; RAYGUARD_TEST_SEED=${seed} repeats it`)

const workshop = openWorkshop(t)
makeCa(workshop, 'root', { days: 3650 })
const startsAt = Math.ceil(Date.now() / 1000) * 1000
const minuteMs = 60_000
/** After that each pod has said what it holds, and each watch shows it. */
const quietMs = 4 * minuteMs

function external(clock: () => number): Authority {
  const chain = usableChain(workshop.read('root.crt'), { now: new Date(startsAt) })
  const key = openPemKey(workshop.read('root.key'))
  const issuer = createLocalIssuer('pem', chain, key, { clock, random: randomBytes })
  return { ...issuer, namesFrom: 'server', async close() {} }
}

const setting = fc.constantFrom<TrustSetting>('perCluster', 'shared')
const replica = fc.nat(2)
const cluster = fc.constantFrom(0, 0, 0, 1)
const seldom = fc.integer({ min: 0, max: 9 }).map(number => number === 0)
const newPod: fc.Arbitrary<NewPod> = fc.record({
  cluster,
  node: fc.constantFrom('head', 'head', 'worker'),
  seenAfterMs: fc.array(fc.constantFrom(0, 1_000, 5_000, 10_000), { minLength: 3, maxLength: 3 }),
  saysAfterMs: fc.constantFrom(0, 5_000, 30_000, 3 * minuteMs)
})
const moment = fc.constantFrom(0, 500, 2_000, 6_000, 11_000, 31_000, 61_000)
const while_ = fc.constantFrom(
  0,
  6_000,
  5 * minuteMs - 3_000,
  5 * minuteMs,
  5 * minuteMs + 3_000,
  7 * minuteMs
)
const doing = <Does extends string, Values extends object>(
  does: Does,
  values: { [Key in keyof Values]: fc.Arbitrary<Values[Key]> }
) => fc.record({ does: fc.constant(does), ...values }) as fc.Arbitrary<{ does: Does } & Values>
const action = fc.oneof(
  // one call of one replica goes a step further, or fails
  { weight: 8, arbitrary: doing('step', { at: fc.nat(9), fails: seldom }) },
  { weight: 1, arbitrary: doing('stepAbandoned', { at: fc.nat(9) }) },
  { weight: 6, arbitrary: doing('drain', {}) },
  { weight: 8, arbitrary: doing('join', { pod: newPod, by: replica }) },
  { weight: 4, arbitrary: doing('enroll', { pod: fc.nat(9), by: replica }) },
  { weight: 3, arbitrary: doing('end', { pod: fc.nat(9) }) },
  { weight: 3, arbitrary: doing('endAll', { cluster }) },
  { weight: 1, arbitrary: doing('start', { by: replica, setting }) },
  { weight: 2, arbitrary: doing('look', { by: replica }) },
  { weight: 3, arbitrary: doing('replace', { pod: newPod, by: replica }) },
  { weight: 1, arbitrary: doing('loseRecord', {}) },
  { weight: 1, arbitrary: doing('lose', { cluster: fc.constantFrom(undefined, 0, 1) }) },
  { weight: 1, arbitrary: doing('loseToldOf', { cluster: fc.constantFrom(undefined, 0, 1) }) },
  { weight: 8, arbitrary: doing('advance', { ms: moment }) },
  { weight: 3, arbitrary: doing('advance', { ms: while_ }) }
)
/** Of one cluster, each thing done to its end: what lies minutes back and is remembered, or is not, shows here. */
const quietPod = newPod.map(pod => ({ ...pod, cluster: 0 }))
const quietAction = fc.oneof(
  { weight: 8, arbitrary: doing('joinWhole', { pod: quietPod, by: replica }) },
  { weight: 5, arbitrary: doing('replace', { pod: quietPod, by: replica }) },
  { weight: 3, arbitrary: doing('end', { pod: fc.nat(9) }) },
  { weight: 1, arbitrary: doing('endAll', { cluster: fc.constant(0) }) },
  { weight: 2, arbitrary: doing('change', { setting, after: while_ }) },
  { weight: 3, arbitrary: doing('look', { by: replica }) },
  { weight: 1, arbitrary: doing('loseRecord', {}) },
  { weight: 1, arbitrary: doing('lose', { cluster: fc.constantFrom(undefined, undefined, 0) }) },
  { weight: 1, arbitrary: doing('loseToldOf', { cluster: fc.constantFrom(undefined, 0) }) },
  { weight: 8, arbitrary: doing('advance', { ms: moment }) },
  { weight: 2, arbitrary: doing('advance', { ms: while_ }) },
  { weight: 2, arbitrary: doing('join', { pod: quietPod, by: replica }) },
  { weight: 2, arbitrary: doing('step', { at: fc.nat(9), fails: seldom }) }
)
/** What was before, and the change that comes to it. */
const story = {
  before: setting,
  begun: fc.subarray([0, 1, 2]) as fc.Arbitrary<number[]>,
  pods: fc.array(newPod, { maxLength: 3 }),
  for: while_,
  changes: fc.array(fc.record({ by: replica, setting }), { maxLength: 3 }),
  after: while_,
  actions: fc.array(action, { minLength: 10, maxLength: 60 }) as fc.Arbitrary<Action[]>,
  last: setting
}
const quietStory = {
  ...story,
  pods: fc.array(quietPod, { minLength: 1, maxLength: 2 }),
  changes: setting.map(setting => [0, 1, 2].map(by => ({ by, setting }))),
  after: fc.constantFrom(0, 5 * minuteMs, 5 * minuteMs + 3_000, 7 * minuteMs),
  actions: fc.array(quietAction, { minLength: 8, maxLength: 30 })
}
/** A CA is in use, the setting changes, all pods are made anew, and a Secret is lost in the minutes after that. */
const soonSeen: fc.Arbitrary<NewPod> = fc.record({
  cluster: fc.constant(0),
  node: fc.constant('head'),
  seenAfterMs: fc.constantFrom([0, 0, 0], [0, 0, 0], [0, 5_000, 1_000], [5_000, 0, 0]),
  saysAfterMs: fc.constantFrom(0, 0, 5_000, 3 * minuteMs)
})
const comes = doing('joinWhole', { pod: soonSeen, by: replica })
const passes = (...ms: number[]) => doing('advance', { ms: fc.constantFrom(...ms) })
const lossActions = fc
  .tuple(
    fc.array(comes, { minLength: 1, maxLength: 3 }),
    passes(0, 2 * minuteMs, 5 * minuteMs, 7 * minuteMs),
    doing('endAll', { cluster: fc.constant(0) }),
    passes(0, 31_000, 61_000, 61_000),
    comes,
    passes(0, 6_000, 31_000, 61_000),
    fc.oneof(
      { weight: 5, arbitrary: doing('lose', { cluster: fc.constant(undefined) }) },
      { weight: 1, arbitrary: doing('lose', { cluster: fc.constant(0) }) },
      { weight: 1, arbitrary: doing('loseRecord', {}) }
    ),
    fc.array(fc.oneof(comes, doing('look', { by: replica }), passes(6_000, 61_000)), {
      maxLength: 3
    }),
    fc.array(comes, { minLength: 2, maxLength: 2 })
  )
  .map(each => each.flat() as Action[])
const toShared = (...replicas: number[]) => replicas.map(by => ({ by, setting: 'shared' as const }))
const lossStory = {
  ...quietStory,
  before: fc.constantFrom<TrustSetting>('perCluster', 'perCluster', 'perCluster', 'shared'),
  begun: fc.constant([0, 1, 2]) as fc.Arbitrary<number[]>,
  pods: fc.array(soonSeen, { minLength: 1, maxLength: 2 }),
  for: fc.constantFrom(0, minuteMs),
  changes: fc.constantFrom([], toShared(0, 1, 2), toShared(0, 1, 2), toShared(1, 2)),
  after: fc.constantFrom(0, 2 * minuteMs),
  actions: lossActions
}
type Action = typeof action | typeof quietAction extends fc.Arbitrary<infer Value> ? Value : never

async function act(world: World, each: Action): Promise<void> {
  const { pods } = world
  switch (each.does) {
    case 'step':
      return await world.step(each.at, each.fails)
    case 'stepAbandoned':
      return await world.stepAbandoned(each.at)
    case 'drain':
      return await world.drain()
    case 'join':
      void world.enroll(world.create(each.pod), each.by)
      return
    case 'joinWhole':
      void world.enroll(world.create(each.pod), each.by)
      return await world.drain()
    case 'change':
      await changed(world, each.setting)
      return await world.advance(each.after)
    case 'enroll': {
      const waiting = pods
        .map((_, index) => index)
        .filter(index => world.isFree(pods[index] as never))
      const pod = waiting[each.pod % (waiting.length || 1)]
      if (pod !== undefined) void world.enroll(pod, each.by)
      return
    }
    case 'end':
      return world.end(each.pod % (pods.length || 1))
    case 'endAll':
      for (const [index, pod] of pods.entries()) if (pod.cluster === each.cluster) world.end(index)
      return
    case 'start':
      return world.start(each.by, each.setting)
    case 'look':
      return world.look(each.by)
    // a new pod comes, and all that were there before it go
    case 'replace': {
      const former = pods.length
      void world.enroll(world.create(each.pod), each.by)
      await world.drain()
      for (let index = 0; index < former; index += 1)
        if (pods[index]?.cluster === each.pod.cluster) world.end(index)
      return
    }
    case 'lose':
      return world.lose(each.cluster)
    // when all pods have said what they hold, and the rounds come at once: no pod stands apart then (docs/trust.md)
    case 'loseToldOf':
      await world.drain()
      await world.advance(quietMs)
      await world.drain()
      world.lose(each.cluster)
      for (const by of [0, 1, 2]) world.look(by)
      return await world.drain()
    case 'loseRecord':
      return world.loseRecord()
    case 'advance':
      return await world.advance(each.ms)
  }
}

/**
 * When nothing fails any more and one setting holds, every cluster takes in a new pod: also one whose CA was lost, when all
 * of its pods were deleted.
 */
async function comesToRest(world: World, setting: TrustSetting, isLost: boolean): Promise<void> {
  if (isLost) for (const index of world.pods.keys()) world.end(index)
  await world.advance(quietMs)
  for (const by of [0, 1, 2]) world.start(by, setting)
  await world.drain()
  for (const cluster of [0, 1]) {
    const rest: NewPod = { cluster, node: 'head', seenAfterMs: [0, 0, 0], saysAfterMs: 0 }
    for (const by of [0, 1, 2]) {
      const pod = world.create(rest)
      await world.advance(11_000)
      void world.enroll(pod, by)
      await world.drain()
      if (world.pods[pod]?.held === undefined) throw new Error('a new pod gets no certificate')
    }
  }
}

async function begun(world: World, by: number): Promise<void> {
  void world.begin(by)
  await world.drain()
}

async function changed(world: World, setting: TrustSetting, replicas = [0, 1, 2]): Promise<void> {
  for (const by of replicas) {
    world.start(by, setting)
    await begun(world, by)
  }
}

for (const [what, told, numRuns] of [
  ['whatever comes between', story, 25],
  ['whatever lies back', quietStory, 70],
  ['whatever is lost', lossStory, 60]
] as const) {
  t.test(`live pods of a RayCluster accept each other, ${what}`, async t => {
    const totals = { own: 0, shared: 0, traceless: 0, refused: {} as Record<string, number> }
    const runs = Number(process.env.RAYGUARD_TEST_RUNS ?? numRuns)
    const property = fc.asyncProperty(fc.record(told), async whole => {
      const { before, pods, changes, actions, last } = whole
      const world = createWorld({ external, startsAt, replicas: [before, before, before] })
      for (const by of whole.begun) await begun(world, by)
      await world.advance(whole.for)
      for (const [index, pod] of pods.entries()) {
        void world.enroll(world.create(pod), index % 3)
        await world.drain()
      }
      await world.advance(whole.for)
      for (const { by, setting } of changes) await changed(world, setting, [by])
      await world.advance(whole.after)
      for (const each of actions) {
        await act(world, each)
        world.judge()
      }
      const isLost = actions.some(({ does }) => does === 'lose' || does === 'loseToldOf')
      await comesToRest(world, last, isLost)
      world.judge()
      totals.own += world.counts.own
      totals.shared += world.counts.shared
      totals.traceless += world.counts.traceless
      for (const [code, count] of Object.entries(world.counts.refused)) {
        totals.refused[code] = (totals.refused[code] ?? 0) + count
      }
    })
    await fc.assert(property, { numRuns: runs, seed })
    t.comment(JSON.stringify(totals))
    t.ok(totals.own > 0 && totals.shared > 0, 'both have been signed')
  })
}
