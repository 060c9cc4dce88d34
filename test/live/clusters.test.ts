import t, { type Test } from 'tap'
import { createStandIn } from '../../src/demo/stand-in.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { createLiveClusters, type LiveClusters } from '../../src/live/clusters.ts'
import { createExpected } from '../../src/live/expected.ts'
import { agentWords, livePod } from '../../src/live/pod.ts'
import { type ClusterTls, emptyCount, keyOf, sideOf } from '../../src/live/sides.ts'
import { headPod, type PodChanges, redisCleanupPod, workerPod } from '../support/builders.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'
import { nativeTls } from '../support/kuberay-pods.ts'

const pair = servingPair()
const uid = headPod().metadata.ownerReferences?.[0]?.uid ?? ''
const cluster = { namespace: 'team-a', uid }

/** A pod as it is stored: with a name, and with TLS where our init container stands. */
function stored(pod: Pod, name: string, tls: boolean, changes: Partial<Pod['metadata']> = {}): Pod {
  const enroll = { name: 'rayguard-enroll', image: 'rayguard' }
  return {
    ...pod,
    metadata: { ...pod.metadata, name, namespace: 'team-a', uid: `${name}-uid`, ...changes },
    spec: {
      ...pod.spec,
      ...(tls ? { initContainers: [enroll, ...(pod.spec.initContainers ?? [])] } : {})
    }
  }
}
const head = (name: string, tls: boolean, changes: PodChanges = {}) =>
  stored(headPod(changes), name, tls)
const worker = (name: string, tls: boolean, changes: PodChanges = {}) =>
  stored(workerPod(changes), name, tls)

async function watched(t: Test, ...pods: Pod[]) {
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  for (const pod of pods) standIn.put(pod)
  const client = createClient(
    {
      server,
      ca: pair.ca,
      credentials: async () => ({ headers: { authorization: `Bearer ${clientToken}` } })
    },
    { timeoutMs: 5_000 }
  )
  let now = 0
  const waiting = new Set<() => void>()
  const clusters: LiveClusters = createLiveClusters({
    client,
    random: () => 0,
    clock: () => now,
    onChange() {
      for (const look of [...waiting]) look()
    }
  })
  clusters.start()
  await clusters.whenSynced
  t.teardown(async () => {
    await clusters.stop()
    await client.close()
    await standIn.close()
  })
  return {
    clusters,
    standIn,
    forward(milliseconds: number) {
      now += milliseconds
    },
    /** Once the watch has shown it. */
    becomes(wanted: ClusterTls | undefined) {
      return new Promise<void>(resolve => {
        const look = () => {
          if (clusters.tlsOf(cluster) !== wanted) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      })
    }
  }
}

t.test('a cluster is what its live pods are', async t => {
  const { clusters, standIn, becomes } = await watched(t, head('h', false), worker('w', false))
  t.equal(clusters.tlsOf(cluster), 'none', 'known with the first list')
  t.equal(clusters.withoutTls(), 1, 'and counted')
  t.equal(clusters.tlsOf({ ...cluster, uid: 'another' }), undefined, 'another cluster is free')

  standIn.remove(head('h', false))
  standIn.put(worker('w2', false))
  standIn.remove(worker('w', false))
  await becomes('none')
  t.equal(
    clusters.tlsOf(cluster),
    'none',
    'a head that is replaced among plaintext workers finds them (GCS fault tolerance)'
  )
  standIn.put({
    ...worker('w2', false),
    metadata: { ...worker('w2', false).metadata, deletionTimestamp: '2026-01-01T00:00:00Z' }
  })
  await becomes(undefined)
  t.equal(clusters.withoutTls(), 0, 'whoever deletes all pods gets the cluster anew')
  standIn.put(head('h2', true))
  await becomes('rayguard')
})

t.test('the head decides; without one, a single pod with TLS does', async t => {
  const none = { rayguard: 0, none: 0 }
  const some = { rayguard: 1, none: 2 }
  t.equal(sideOf({ head: none, worker: none }), undefined)
  t.equal(sideOf({ head: { rayguard: 0, none: 1 }, worker: some }), 'none', 'plaintext head')
  t.equal(sideOf({ head: { rayguard: 1, none: 0 }, worker: { rayguard: 0, none: 9 } }), 'rayguard')
  t.equal(sideOf({ head: none, worker: some }), 'rayguard', 'stragglers change nothing')
  t.equal(sideOf({ head: none, worker: { rayguard: 0, none: 1 } }), 'none')
})

t.test('what takes no part has no say', async t => {
  const finished = worker('finished', false)
  const { clusters } = await watched(
    t,
    { ...finished, status: { phase: 'Failed' } },
    { ...worker('done', false), status: { phase: 'Succeeded' } },
    stored(redisCleanupPod(), 'cleanup', false),
    worker('native', false, nativeTls('secret')),
    worker('unowned', false, { metadata: { ownerReferences: [] } }),
    worker('misspelt', false, { labels: { 'ray.io/node-type': 'Worker' } })
  )
  t.equal(clusters.tlsOf(cluster), undefined, 'finished, cleanup, other TLS, not owned, no role')
})

t.test('attack: a pod of another namespace does not speak for this RayCluster', async t => {
  const { clusters } = await watched(t, stored(headPod(), 'h', false, { namespace: 'team-b' }))
  t.equal(clusters.tlsOf(cluster), undefined, 'though it names its UID')
  t.equal(clusters.tlsOf({ namespace: 'team-b', uid }), 'none', 'it speaks for its own namespace')
})

t.test('pods that were answered a moment ago count until they are seen', async t => {
  const { clusters, standIn, forward, becomes } = await watched(t)
  clusters.expect(cluster, 'head', 'none')
  t.equal(clusters.tlsOf(cluster), 'none', 'the next pod is answered alike')
  t.equal(clusters.withoutTls(), 0, 'nothing is counted that is not there')
  forward(1_900)
  t.equal(clusters.tlsOf(cluster), 'none')
  forward(400)
  t.equal(clusters.tlsOf(cluster), undefined, 'a pod that was never created is forgotten')

  clusters.expect(cluster, 'worker', 'none')
  clusters.expect(cluster, 'worker', 'none')
  standIn.put(worker('w1', false))
  standIn.put(worker('w2', false))
  standIn.remove(worker('w1', false))
  standIn.remove(worker('w2', false))
  await becomes(undefined)
  t.pass('each that was seen is forgotten with its pod, without waiting')
})

t.test('how many pods are on their way', async t => {
  let now = 0
  const expected = createExpected(() => now)
  const key = keyOf(cluster)
  const seen = livePod(worker('w', false))
  if (seen === undefined) throw new Error('a worker is a Ray pod')
  const push = (leftAlone: boolean, of = key) =>
    expected.push({ key: of, node: 'worker', tls: 'none', leftAlone })
  const count = () => expected.addTo(key, emptyCount()).worker.none

  push(false)
  now = 1_000
  push(true)
  push(true, keyOf({ namespace: 'team-b', uid }))
  t.equal(count(), 2, 'of this RayCluster, whenever they were answered')
  t.strictSame(
    expected.addTo(key, { ...emptyCount(), head: { rayguard: 3, none: 0 } }),
    { head: { rayguard: 3, none: 0 }, worker: { rayguard: 0, none: 2 } },
    'beside those that live'
  )
  t.notOk(expected.seenLeftAlone({ ...seen, node: 'head' }), 'another kind of pod takes none away')
  t.equal(count(), 2)
  t.notOk(expected.seenLeftAlone(seen), 'the oldest is taken away first, which was not left alone')
  t.ok(expected.seenLeftAlone(seen), 'then the one that was')
  t.notOk(expected.seenLeftAlone(seen), 'and no other')
  t.equal(count(), 0)

  for (; now < 2_000; now += 500) for (let times = 0; times < 6_000; times += 1) push(false)
  t.equal(count(), 6_000, 'of too many the oldest are forgotten')
  now += 3_000
  t.equal(count(), 0)

  for (let times = 0; times < 3_000; times += 1) push(false)
  for (let times = 0; times < 2_500; times += 1) expected.seenLeftAlone(seen)
  now += 500
  for (let times = 0; times < 9_000; times += 1) push(false)
  t.equal(count(), 9_500, 'those that have been seen take no place')
})

t.test('what is read of a pod', async t => {
  const pod = worker('w', true)
  const said = (terminated: object | undefined, last?: object) =>
    agentWords({
      ...pod,
      status: {
        initContainerStatuses: [
          {
            name: 'rayguard-enroll',
            state: terminated ? { terminated: terminated as { exitCode: number } } : {},
            ...(last ? { lastState: { terminated: last as { exitCode: number } } } : {})
          }
        ]
      }
    })
  const words = { serialNumber: 'ab', notAfter: '2027-01-01T00:00:00Z', anchorSha256: 'cd' }
  t.match(said({ exitCode: 0, message: JSON.stringify(words) }), { ended: 'well', ...words })
  t.match(
    said(undefined, { exitCode: 1, message: '{"code":"SourceAddress","message":"no"}' }),
    { ended: 'badly', code: 'SourceAddress', message: 'no' },
    'of the run before, while it tries again'
  )
  for (const message of [undefined, '', 'x', '[]', 'null', '{"code":"a b\\u0000"}', '{"code":1}'])
    t.match(said({ exitCode: 2, message }), { ended: 'badly', code: 'Unknown' }, `${message}`)
  const forged = JSON.stringify({ ...words, notAfter: '2027-01-01 (Call 555-0100 at once)' })
  t.ok(Date.parse('2027-01-01 (Call 555-0100 at once)') > 0, 'attack 60: a date with words in it')
  const never = JSON.stringify({ ...words, notAfter: '2027-99-01T00:00:00Z' })
  for (const message of [undefined, 'x', '{}', '{"serialNumber":1,"notAfter":2}', forged, never])
    t.equal(said({ exitCode: 0, message }), undefined, `a certificate that is not told: ${message}`)
  t.equal(said(undefined), undefined, 'nothing yet')

  const terminated = { exitCode: 1 }
  for (const [what, status, enrolling] of [
    ['it has no node yet', undefined, false],
    ['it waits to be run', { state: { waiting: {} } }, false],
    ['it runs', { state: { running: {} } }, true],
    ['it is run again', { state: { waiting: {} }, lastState: { terminated } }, true],
    ['it has ended', { state: { terminated }, lastState: { terminated } }, false]
  ] as const) {
    const initContainerStatuses = status && [{ name: 'rayguard-enroll', ...status }]
    const found = livePod({ ...pod, status: { ...(status && { initContainerStatuses }) } } as Pod)
    t.equal(found?.enrolling, enrolling, `the agent: ${what}`)
  }

  t.match(livePod(pod), {
    name: 'w',
    namespace: 'team-a',
    node: 'worker',
    tls: 'rayguard',
    live: true,
    cluster: { name: 'demo', uid, apiVersion: 'ray.io/v1' }
  })
  const owner = (changes: object) =>
    worker('w', true, {
      metadata: { ownerReferences: [{ ...pod.metadata.ownerReferences?.[0], ...changes } as never] }
    })
  t.equal(livePod(owner({ apiVersion: 'other.io/v1' })), undefined, 'another RayCluster')
  t.equal(livePod(owner({ controller: false })), undefined, 'an owner that does not control')
  t.equal(livePod(owner({ kind: 'RayJob' })), undefined, 'another kind')
})
