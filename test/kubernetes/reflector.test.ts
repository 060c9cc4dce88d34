import t, { type Test } from 'tap'
import { createStandIn, type Fault, type StandInRequest } from '../../src/demo/stand-in.ts'
import { type ClientOptions, createClient } from '../../src/kubernetes/client.ts'
import { KubernetesError } from '../../src/kubernetes/error.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import {
  type Change,
  createReflector,
  type ReflectorOptions
} from '../../src/kubernetes/reflector.ts'
import { createWaiters } from '../../src/kubernetes/waiters.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import { rayPod } from '../support/ray-objects.ts'

const pair = servingPair()
const patient = { timeoutMs: 30_000 }

async function start(
  t: Test,
  options: Partial<ReflectorOptions<Pod, string>> = {},
  clientOptions: Partial<ClientOptions> = {}
) {
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  const client = createClient(connectionTo(server, pair.ca), { timeoutMs: 5_000, ...clientOptions })
  const changes: Change<string>[] = []
  const faults: unknown[] = []
  const reflector = createReflector<Pod, string>({
    client,
    path: '/api/v1/pods',
    project: ({ metadata, status }) => `${metadata.name} ${status?.phase}`,
    onChange: change => changes.push(change),
    onFault: fault => faults.push(fault),
    random: () => 0.5,
    clock: () => 0,
    backoffMs: 1,
    ...options
  })
  t.teardown(async () => {
    await reflector.stop()
    await client.close()
    await standIn.close()
  })
  const pod = (name: string, phase = 'Pending'): Pod => ({ ...rayPod({ name }), status: { phase } })
  const watching = async () => {
    while (standIn.watches.open.size === 0) await new Promise(resolve => setImmediate(resolve))
  }
  const shown = () => [...reflector.values()].sort()
  return { standIn, client, reflector, changes, faults, pod, watching, shown }
}

t.test('a copy is listed by pages, then follows what is new, changed and gone', async t => {
  const { standIn, reflector, changes, pod, watching, shown } = await start(t, { pageSize: 2 })
  for (const name of ['a', 'b', 'c', 'd', 'e']) standIn.put(pod(name))
  t.equal(reflector.synced(), false, 'nothing is known before it starts')
  reflector.start()
  reflector.start()
  await reflector.whenSynced
  t.equal(reflector.synced(), true, 'it knows when it is whole')
  t.same(shown(), ['a Pending', 'b Pending', 'c Pending', 'd Pending', 'e Pending'], 'five pods')
  const lists = standIn.requests.filter(line => line === 'GET /api/v1/pods')
  t.ok(lists.length >= 3, 'in three pages')
  await watching()
  standIn.put(pod('f'))
  t.ok(await reflector.changed('f-uid', { ...patient, until: value => value !== undefined }), 'new')
  standIn.put(pod('a', 'Running'))
  t.ok(
    await reflector.changed('a-uid', { ...patient, until: value => value === 'a Running' }),
    'changed'
  )
  standIn.remove(pod('b'))
  t.ok(
    await reflector.changed('b-uid', { ...patient, until: value => value === undefined }),
    'gone'
  )
  t.equal(reflector.get('b-uid'), undefined, 'it is not there any more')
  t.match(
    changes.slice(5),
    [
      { uid: 'f-uid', before: undefined, after: 'f Pending' },
      { uid: 'a-uid', before: 'a Pending', after: 'a Running' },
      { uid: 'b-uid', before: 'b Pending', after: undefined }
    ],
    'each change is told once, with what was before'
  )
  const lone = standIn.requests.filter(line => line === 'GET /api/v1/pods').length
  t.equal(lone, 4, 'three pages and one watch')
})

t.test('a watch that breaks goes on where it was', async t => {
  const { standIn, reflector, pod, watching, faults } = await start(t)
  reflector.start()
  await reflector.whenSynced
  await watching()
  const before = standIn.requests.length
  standIn.watches.dropAll()
  standIn.put(pod('meanwhile'))
  t.ok(
    await reflector.changed('meanwhile-uid', { ...patient, until: value => value !== undefined }),
    'what came meanwhile is seen'
  )
  t.match(faults[0], { code: 'Unavailable' }, 'the break is told')
  t.equal(standIn.requests.length, before + 1, 'one new watch, no new list')
})

t.test('a watch whose past is forgotten lists again, and loses what is gone', async t => {
  for (const kind of ['an event', 'a status']) {
    const { standIn, reflector, pod, watching, shown, faults } = await start(t)
    standIn.put(pod('stays'))
    standIn.put(pod('goes'))
    reflector.start()
    await reflector.whenSynced
    await watching()
    let refused = false
    const outage = (request: StandInRequest): Fault | undefined => {
      if (refused || kind === 'an event' || request.query.get('watch') !== 'true') return undefined
      refused = true
      return { status: 410 }
    }
    standIn.interfere(outage)
    const all = [...standIn.watches.open]
    // All in one turn: the client can see none of it before the past is forgotten.
    standIn.watches.dropAll()
    standIn.remove(pod('goes'))
    standIn.put(pod('comes'))
    standIn.store.compact()
    t.equal(all.length, 1, 'one watch was open')
    t.ok(
      await reflector.changed('comes-uid', { ...patient, until: value => value !== undefined }),
      `410 as ${kind}: the new list is taken`
    )
    t.same(shown(), ['comes Pending', 'stays Pending'], 'what is gone is gone')
    t.ok(
      faults.some(fault => fault instanceof KubernetesError && fault.code === 'Gone'),
      'it was told so'
    )
  }
})

t.test('a list whose rest is forgotten half-way begins anew', async t => {
  const { standIn, reflector, pod, shown } = await start(t, { pageSize: 1 })
  standIn.put(pod('a'))
  standIn.put(pod('b'))
  let compacted = false
  standIn.interfere(({ query }) => {
    if (query.has('continue') && !compacted) {
      compacted = true
      standIn.store.compact()
    }
    return undefined
  })
  reflector.start()
  await reflector.whenSynced
  t.same(shown(), ['a Pending', 'b Pending'], 'it is whole all the same')
})

t.test('a copy that cannot be listed is not synced, until it can', async t => {
  const { standIn, reflector, pod, faults, shown } = await start(t)
  standIn.put(pod('a'))
  let left = 5
  standIn.interfere(() => (left-- > 0 ? { status: 503 } : undefined))
  reflector.start()
  while (faults.length < 3) await new Promise(resolve => setImmediate(resolve))
  t.equal(reflector.synced(), false, 'not yet')
  await reflector.whenSynced
  t.same(shown(), ['a Pending'], 'late, but whole')
})

t.test('bookmarks carry it on, and silence makes it stale', async t => {
  let now = 0
  const { standIn, reflector, pod, watching } = await start(t, {
    clock: () => now,
    staleAfterMs: 100
  })
  reflector.start()
  await reflector.whenSynced
  await watching()
  now = 101
  t.equal(reflector.synced(), false, 'nothing heard for too long: it may be cut off')
  standIn.watches.bookmarkAll()
  while (!reflector.synced()) await new Promise(resolve => setImmediate(resolve))
  t.pass('a bookmark says that it follows')
  standIn.store.compact()
  standIn.watches.bookmarkAll()
  standIn.put(pod('a'))
  t.ok(await reflector.changed('a-uid', { ...patient, until: value => value !== undefined }), 'on')
})

t.test('a connection that has died without a word is given up', async t => {
  const { standIn, reflector, watching, faults } = await start(t, {}, { watchSilenceMs: 30 })
  reflector.start()
  await reflector.whenSynced
  await watching()
  while (faults.length === 0) await new Promise(resolve => setTimeout(resolve, 5))
  t.match(faults[0], { code: 'Unavailable' }, 'the silence is a fault')
  t.ok(standIn.requests.length >= 2, 'and another watch is opened')
})

t.test('what is not projected is not kept, what leaves the selection goes', async t => {
  const { standIn, reflector, pod, watching, shown, faults } = await start(t, {
    query: { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' },
    project: ({ metadata }) => (metadata.name === 'secret' ? undefined : metadata.name)
  })
  standIn.put(pod('done', 'Succeeded'))
  standIn.put(pod('secret'))
  standIn.put(pod('runs'))
  reflector.start()
  await reflector.whenSynced
  t.same(shown(), ['runs'], 'one is kept')
  await watching()
  standIn.put(pod('runs', 'Failed'))
  t.ok(
    await reflector.changed('runs-uid', { ...patient, until: value => value === undefined }),
    'left'
  )
  standIn.put(pod('runs', 'Running'))
  t.ok(
    await reflector.changed('runs-uid', { ...patient, until: value => value === 'runs' }),
    'back'
  )
  standIn.interfere(({ query }) =>
    query.has('watch')
      ? undefined
      : {
          status: 200,
          body: { metadata: { resourceVersion: '1' }, items: [{ metadata: { name: 'x' } }] }
        }
  )
  standIn.store.compact()
  standIn.watches.dropAll()
  while (!faults.some(fault => (fault as KubernetesError).code === 'Invalid'))
    await new Promise(resolve => setImmediate(resolve))
  t.same(shown(), ['runs'], 'a list with an object that has no UID is not taken')
})

t.test('who waits is woken once, or goes with its time or its caller', async t => {
  const waiters = createWaiters<number>()
  const gone = AbortSignal.abort()
  t.equal(await waiters.wait('a', 1, { ...patient, signal: gone }), false, 'gone before it began')
  t.equal(
    await waiters.wait('a', 1, { ...patient, until: value => value === 1 }),
    true,
    'already so'
  )
  t.equal(await waiters.wait('a', 1, { timeoutMs: 1 }), false, 'time over')
  const leaving = new AbortController()
  const left = waiters.wait('a', 1, { ...patient, signal: leaving.signal })
  const any = waiters.wait('a', 1, patient)
  const two = waiters.wait('a', 1, { ...patient, until: value => value === 2 })
  leaving.abort()
  t.equal(await left, false, 'the caller has gone')
  waiters.wake('b', 2)
  waiters.wake('a', 3)
  t.equal(await any, true, 'any change')
  waiters.wake('a', 2)
  t.equal(await two, true, 'the right one')
})

t.test('attack: pods too large for a page are listed by smaller pages', async t => {
  const { standIn, reflector, pod, shown, faults } = await start(t, { pageSize: 4 })
  for (const name of ['a', 'b', 'c', 'd', 'e']) standIn.put(pod(name))
  standIn.interfere(({ query }) => (Number(query.get('limit')) > 1 ? { status: 413 } : undefined))
  reflector.start()
  await reflector.whenSynced
  t.equal(shown().length, 5, 'all of them')
  t.same(faults, [], 'without a fault')
})

t.test('an event that cannot be taken in is not lost, the copy is listed anew', async t => {
  let broken = true
  const { standIn, reflector, pod, watching } = await start(t, {
    project(object) {
      if (object.metadata.name !== 'bad' || !broken) return object.metadata.name
      broken = false
      throw new Error('once')
    }
  })
  reflector.start()
  await reflector.whenSynced
  await watching()
  standIn.put(pod('bad'))
  t.ok(await reflector.changed('bad-uid', { ...patient, until: value => value === 'bad' }), 'there')
})

t.test('a watch that is always refused lists again', async t => {
  const { standIn, reflector, pod } = await start(t)
  reflector.start()
  await reflector.whenSynced
  standIn.interfere(({ query }) => (query.get('watch') === 'true' ? { status: 500 } : undefined))
  standIn.watches.dropAll()
  standIn.put(pod('new'))
  t.ok(
    await reflector.changed('new-uid', { ...patient, until: value => value !== undefined }),
    'seen'
  )
})

t.test('a copy that was lost counts as known only when it is listed anew', async t => {
  for (const hours of [0, 1]) {
    let now = 0
    const { standIn, reflector, pod, watching, shown } = await start(t, { clock: () => now })
    const gone = standIn.put(pod('gone'))
    reflector.start()
    await reflector.whenSynced
    await watching()
    standIn.put(pod('seen'))
    await reflector.changed('seen-uid', { ...patient, until: value => value !== undefined })

    let release = () => {}
    const until = new Promise<void>(resolve => {
      release = resolve
    })
    let lists = () => {}
    const listing = new Promise<void>(resolve => {
      lists = resolve
    })
    standIn.interfere(({ path, query }) => {
      if (!path.endsWith('/pods') || query.get('watch') === 'true') return undefined
      lists()
      return { until }
    })
    // a process that was frozen, or silence for all but as long as a copy is good
    now += hours * 3_600_000 || 149_000
    standIn.store.remove(gone)
    standIn.store.compact()
    standIn.watches.dropAll()
    await listing
    now += 2_000
    t.equal(reflector.synced(), false, `${hours} h: what opened and was too old is no contact`)
    release()
    await reflector.changed('gone-uid', { ...patient, until: value => value === undefined })
    t.strictSame(shown(), ['seen Pending'], 'it has caught up')
    t.equal(reflector.synced(), true, 'and counts')
  }
})
