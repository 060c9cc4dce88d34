import fc from 'fast-check'
import t from 'tap'
import type { LivePod } from '../../src/live/pod.ts'
import { noteText, readNote } from '../../src/replacement/note.ts'
import {
  type Eviction,
  isDue,
  nextStep,
  patienceMs,
  type ReplacementRules,
  type Situation
} from '../../src/replacement/plan.ts'

const minuteMs = 60_000
const dayMs = 86_400_000
const start = Date.parse('2026-05-01T12:00:00Z')
const rules: ReplacementRules = { aheadMs: 15 * dayMs, heads: false, intervalMs: minuteMs }

interface PodOptions {
  uid: string
  cluster?: string
  namespace?: string
  node?: LivePod['node']
  /** Days from now. */
  ends?: number
  /** Days before now. */
  age?: number
  live?: boolean
  ready?: boolean
  tls?: LivePod['tls']
}

function pod(options: PodOptions): LivePod {
  const { uid, cluster = 'demo', namespace = 'team-a', node = 'worker', ends = 80 } = options
  const { age = 10, live = true, ready = true, tls = 'rayguard' } = options
  const notAfter = new Date(start + ends * dayMs).toISOString()
  return {
    ...{ uid, namespace, name: uid, node, tls, live, ready },
    cluster: { apiVersion: 'ray.io/v1', name: cluster, uid: cluster },
    createdAt: start - age * dayMs,
    enrolling: false,
    agent: { ended: 'well', serialNumber: '1', notAfter, anchorSha256: '' }
  }
}

const head = (options: Partial<PodOptions> = {}) => pod({ uid: 'head', node: 'head', ...options })
const due = { ends: 10, age: 80 }

function step(pods: LivePod[], changes: Partial<Situation> = {}, changedRules = {}) {
  const situation = {
    pods,
    now: start,
    putOff: new Set<string>(),
    turns: new Map(),
    ends: new Map(),
    ...changes
  }
  const found = nextStep(situation, { ...rules, ...changedRules })
  if (found.step === 'evict') return found.pod.uid
  return found.step === 'wait' ? found.until : found.step
}

const evicted = (changes: Partial<Eviction> = {}): Eviction => ({
  ...{ namespace: 'team-a', cluster: 'demo', pod: 'former', at: start - 5 * minuteMs },
  ...{ since: start - 5 * minuteMs, ...changes }
})
const gone = { goneSince: start - minuteMs }

t.test('a worker is due so long before its end, at most half of its life', t => {
  t.equal(step([head(), pod({ uid: 'w', ends: 15.1, age: 75 })]), 'rest')
  t.equal(step([head(), pod({ uid: 'w', ends: 15, age: 75 })]), 'w')
  t.equal(step([head(), pod({ uid: 'w', ends: 6, age: 4 })]), 'rest', 'of a short life')
  t.equal(step([head(), pod({ uid: 'w', ends: 5, age: 5 })]), 'w')
  t.equal(step([head(), pod({ uid: 'w', ends: -1, age: 91 })]), 'w', 'too late is not never')
  t.equal(
    step([head(), pod({ uid: 'late', ...due }), pod({ uid: 'soon', ends: 9, age: 81 })]),
    'soon'
  )
  t.end()
})

t.test('who is left alone', t => {
  const w = { uid: 'w', ...due }
  t.equal(step([head(), pod({ ...w, tls: 'none' })]), 'rest', 'a pod without our certificate')
  t.equal(step([head(), pod({ ...w, live: false })]), 'rest', 'one that is on its way out')
  t.equal(
    step([head(), pod({ ...w, ends: -100, age: 3 })]),
    'rest',
    'attack: an end before its begin'
  )
  t.equal(step([pod(w)]), 'rest', 'one without a head, for it could not join again')
  t.equal(step([head({ ready: false, ...due }), pod(w)]), 'rest')
  t.equal(
    step([head({ namespace: 'other' }), pod(w)]),
    'rest',
    'attack: a head of another namespace'
  )
  t.equal(
    step([head(), pod(w)], { putOff: new Set(['w']) }),
    'rest',
    'one that was blocked just now'
  )
  t.end()
})

t.test('a cluster that is not whole is left alone while there is time', t => {
  const broken = pod({ uid: 'broken', ready: false })
  t.equal(step([head(), broken, pod({ uid: 'w', ...due })]), 'rest')
  t.equal(step([head(), broken, pod({ uid: 'w', ends: 7.5, age: 80 })]), 'w', 'and then no longer')
  t.end()
})

t.test('heads only by setting, and after the workers', t => {
  const old = head(due)
  const worker = pod({ uid: 'w', ...due })
  t.equal(step([old]), 'rest')
  t.equal(step([old], {}, { heads: true }), 'head')
  t.equal(step([old, worker], {}, { heads: true }), 'w')
  t.equal(
    step([old, worker], { putOff: new Set(['w']) }, { heads: true }),
    'rest',
    'blocked ones too'
  )
  t.equal(step([old, pod({ uid: 'fresh' })], {}, { heads: true }), 'head')
  t.end()
})

t.test('the next one waits for the interval, and for the cluster of the last', t => {
  const pods = [head(), pod({ uid: 'w', ...due })]
  const now = start
  t.equal(step(pods, { last: evicted({ at: now - 59_000 }), ...gone }), 'interval')
  t.equal(step(pods, { last: evicted(), ...gone }), 'w')
  const leaving = pod({ uid: 'former', live: false })
  const elsewhere = [head({ cluster: 'b' }), pod({ uid: 'b', cluster: 'b', ...due })]
  t.equal(step([...elsewhere, leaving], { last: evicted() }), 'recovery', 'it still ends')
  t.equal(step(elsewhere, { last: evicted() }), 'recovery', 'its end was not seen')
  t.equal(step(elsewhere, { last: evicted(), goneSince: now - 9_000 }), 'recovery', 'or just now')
  const young = pod({ uid: 'young', age: 1 / 1440, ready: false })
  t.equal(
    step([...elsewhere, young], { last: evicted(), ...gone }),
    'recovery',
    'its successor starts'
  )
  t.equal(step([...elsewhere, { ...young, ready: true }], { last: evicted(), ...gone }), 'b')
  const elder = pod({ uid: 'elder', ready: false })
  t.equal(
    step([...elsewhere, elder], { last: evicted(), ...gone }),
    'b',
    'what ailed it before is no reason'
  )
  const long = evicted({ at: now - patienceMs - 1 })
  t.equal(step([...elsewhere, young], { last: long, ...gone }), 'b', 'not for ever')
  const { agent: _, ...silent } = { ...young, uid: 'silent' }
  const uncertified = { ...silent, enrolling: true }
  const bare = [...elsewhere, uncertified]
  t.equal(step([...elsewhere, silent], { last: long, ...gone }), 'b', 'which has no node yet')
  t.equal(step(bare, { last: long, ...gone }), 'recovery', 'while nothing gets a certificate')
  const refused = {
    ...uncertified,
    agent: { ended: 'badly', code: 'Denied', message: '' }
  } as const
  t.equal(step([...elsewhere, refused], { last: long, ...gone }), 'recovery')
  const other = pod({ uid: 'other', namespace: 'team-c', age: 2 / 1440, ready: false })
  t.equal(step([...bare, other], { last: long, ...gone }), 'b', 'here, and nowhere else either')
  const before = pod({ uid: 'before', namespace: 'team-c', age: 1 })
  t.equal(step([...bare, before], { last: long, ...gone }), 'recovery', 'since then')
  const urgent = pod({ uid: 'urgent', cluster: 'b', ends: 7.5, age: 80 })
  t.equal(step([...bare, urgent], { last: long, ...gone }), 'urgent', 'nor for who cannot wait')
  const alive = pod({ uid: 'former', ...due })
  t.equal(
    step([head(), alive], { last: evicted({ at: now - 29_000 }) }, { intervalMs: 0 }),
    'recovery'
  )
  t.equal(step([head(), alive], { last: evicted() }), 'former', 'who meant to evict it never did')
  t.end()
})

t.test('one cluster after the other, and namespaces take turns', t => {
  const pods = [
    ...[head(), pod({ uid: 'a', ...due })],
    ...[head({ cluster: 'b' }), pod({ uid: 'b', cluster: 'b', ends: 1, age: 89 })],
    head({ cluster: 'c', namespace: 'team-c' }),
    pod({ uid: 'c', cluster: 'c', namespace: 'team-c', ends: 14, age: 76 })
  ]
  const turns = new Map([['team-a', start - 5 * minuteMs]])
  t.equal(step(pods), 'b', 'what ends first')
  t.equal(
    step(pods, { last: evicted(), ...gone, turns }),
    'a',
    'but the cluster of the last goes on'
  )
  const hour = evicted({ since: start - 61 * minuteMs })
  t.equal(
    step(pods, { last: hour, ...gone, turns }),
    'c',
    'attack: not so that others wait for ever'
  )
  const held = new Map([['team-a', start - 1_000]])
  t.equal(step(pods, { last: evicted(), ...gone, turns: held }), 'c', 'attack: nor by held pods')
  t.end()
})

t.test('what the Lease keeps is read as it was written, and anything else is nothing', t => {
  t.strictSame(readNote(noteText(evicted())), evicted())
  for (const text of [
    undefined,
    '',
    '{',
    'null',
    '[]',
    '{"pod":1}',
    noteText(evicted()).replace('2026', 'x')
  ])
    t.equal(readNote(text), undefined, `${text}`)
  t.end()
})

t.test('whose certificate ends with the CA wins nothing by another', t => {
  const old = [head(), pod({ uid: 'w', ...due })]
  const later = (changes: Partial<PodOptions> = {}) =>
    pod({ uid: 'later', ends: 10, age: 0.5, ...changes })
  t.equal(step([...old, later()]), 'rest', 'as one shows that was made later')
  t.equal(step([...old, later({ ends: 10.001 })]), 'rest', 'to seconds')
  t.equal(step([...old, later({ ends: 10.1 })]), 'w', 'one that ends later shows nothing')
  t.equal(
    step([...old, later({ age: 1.1 })]),
    'w',
    'nor does one of another day: the CA may be new'
  )
  t.equal(
    step([...old, later({ namespace: 'team-b' })]),
    'w',
    'attack: nor one of another namespace'
  )
  t.equal(step([...old, later({ tls: 'other' })]), 'w', 'nor one with a certificate of others')
  const young = { ends: 0.1, age: 0.2 }
  const both = [head(), pod({ uid: 'w', ...young }), pod({ uid: 'v', ...young })]
  t.equal(step(both), 'v', 'nor one that was made together with it')
  const ends = (at: number, end = start + 0.1 * dayMs) => new Map([['team-a', { end, at }]])
  const made = start - 0.2 * dayMs
  t.equal(step(both, { ends: ends(made) }), 'rest', 'but for one that had the same end')
  t.equal(step(both, { ends: ends(made + 1000) }), 'v')
  t.equal(step(both, { ends: ends(made, start) }), 'v')
  t.end()
})

interface WorldOptions {
  /** No certificate lives longer. */
  caEnds?: number
  /** Whether new pods get one. */
  signs?: boolean
}

/** Pods that come and go as KubeRay and kubelets would have it, so many seconds at a time. */
function world(
  clusters: readonly { namespace: string; workers: { age: number }[] }[],
  { caEnds = Number.POSITIVE_INFINITY, signs = true }: WorldOptions = {}
) {
  let now = start
  let made = 0
  const leaving = new Map<string, number>()
  const starting = new Map<string, number>()
  const make = (cluster: string, namespace: string, node: LivePod['node'], age: number) => {
    made += 1
    const createdAt = now - age * dayMs
    const notAfter = new Date(Math.min(createdAt + 90 * dayMs, caEnds)).toISOString()
    const uid = `${cluster}-${made}`
    const { agent: _, ...bare } = { ...pod({ uid, cluster, namespace, node }), createdAt }
    if (age === 0 && !signs) return { ...bare, enrolling: true }
    const agent = { ended: 'well', serialNumber: '1', notAfter, anchorSha256: '' } as const
    return { ...bare, agent }
  }
  let pods: LivePod[] = clusters.flatMap(({ namespace, workers }, index) => [
    make(`c${index}`, namespace, 'head', 80),
    ...workers.map(({ age }) => make(`c${index}`, namespace, 'worker', age))
  ])
  return {
    now: () => now,
    pods: () => pods,
    evict(uid: string) {
      pods = pods.map(each => (each.uid === uid ? { ...each, live: false } : each))
      leaving.set(uid, now + 20_000)
    },
    pass(seconds: number) {
      now += seconds * 1000
      pods = pods.flatMap(each => {
        if ((leaving.get(each.uid) ?? now + 1) <= now) {
          leaving.delete(each.uid)
          const next = { ...make(each.cluster.uid, each.namespace, each.node, 0), ready: false }
          if ('agent' in next) starting.set(next.uid, now + 40_000)
          return [next]
        }
        const ready = each.ready || (starting.get(each.uid) ?? now + 1) <= now
        return [{ ...each, ready }]
      })
    }
  }
}

t.test(
  'property: all workers are replaced in time, once each, and one cluster at a time is disturbed',
  t => {
    const age = fc.integer({ min: 0, max: 89 })
    const cluster = fc.record({
      namespace: fc.constantFrom('team-a', 'team-b', 'team-c'),
      workers: fc.array(fc.record({ age }), { maxLength: 4 })
    })
    fc.assert(
      fc.property(fc.array(cluster, { maxLength: 5 }), fc.nat(3), (clusters, blocks) => {
        const { pods, pass, evict, now } = world(clusters)
        const evictedOnes = new Set<string>()
        const expected = pods().filter(
          each => each.node === 'worker' && isDue(each, now(), rules)
        ).length
        const turns = new Map<string, number>()
        let last: Eviction | undefined
        let goneSince: number | undefined
        let blocked = blocks
        for (let looks = 0; looks < 600; looks += 1) {
          const seen = last && pods().some(({ uid }) => uid === last?.pod)
          goneSince = last && !seen ? (goneSince ?? now()) : undefined
          const situation = {
            pods: pods(),
            now: now(),
            last,
            goneSince,
            ...{ putOff: new Set<string>(), turns, ends: new Map() }
          }
          const found = nextStep(situation, rules)
          if (found.step === 'evict') {
            const shaken = pods().filter(each => !each.live || !each.ready)
            if (shaken.length > 0) throw new Error(`${shaken[0]?.uid} is not ready yet`)
            if (found.pod.node === 'head') throw new Error('a head')
            if (!isDue(found.pod, now(), rules)) throw new Error('not due')
            if (evictedOnes.has(found.pod.uid)) throw new Error('twice')
            if (last && now() - last.at < rules.intervalMs) throw new Error('too fast')
            if (blocked > 0) blocked -= 1
            else {
              evict(found.pod.uid)
              evictedOnes.add(found.pod.uid)
              turns.set(found.pod.namespace, now())
              last = found.eviction
            }
          }
          pass(5)
        }
        return evictedOnes.size === expected
      }),
      { numRuns: 150 }
    )
    t.pass('150 worlds')
    t.end()
  }
)

/** Pods that are evicted within so many days, with as many clusters of three workers, all in one namespace. */
function played(count: number, days: number, options: WorldOptions & { age: number }) {
  const workers = Array.from({ length: 3 }, () => ({ age: options.age }))
  const clusters = Array.from({ length: count }, () => ({ namespace: 'team-a', workers }))
  const { pods, pass, evict, now } = world(clusters, options)
  const ends = new Map<string, { end: number; at: number }>()
  const turns = new Map<string, number>()
  const evictions: { ends: number }[] = []
  let last: Eviction | undefined
  let goneSince: number | undefined
  for (; now() < start + days * dayMs; pass(300)) {
    const seen = last && pods().some(({ uid }) => uid === last?.pod)
    goneSince = last && !seen ? (goneSince ?? now()) : undefined
    const situation = { pods: pods(), now: now(), last, goneSince, putOff: new Set<string>() }
    const found = nextStep({ ...situation, turns, ends }, rules)
    if (found.step !== 'evict') continue
    const { pod } = found
    const end = pod.agent?.ended === 'well' ? Date.parse(pod.agent.notAfter) : 0
    evictions.push({ ends: (end - now()) / dayMs })
    evict(pod.uid)
    turns.set(pod.namespace, now())
    ends.set(pod.namespace, { end, at: now() })
    last = found.eviction
  }
  return evictions
}

t.test('the end of the CA costs a namespace one pod a day', t => {
  const evictions = played(5, 10, { age: 76, caEnds: start + 10 * dayMs })
  t.ok(evictions.length > 0 && evictions.length <= 10, `${evictions.length} evictions`)
  t.end()
})

t.test('a CA that is away costs one pod, until others can wait no longer', t => {
  const evictions = played(20, 6, { age: 76, signs: false })
  t.equal(evictions.length, 1, 'of sixty that are due')
  t.equal(played(2, 1, { age: 76 }).length, 6, 'where it signs all are replaced')
  t.end()
})
