import t, { type Test } from 'tap'
import { objection } from '../../src/cli/components/replacement.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { type LivePod, livePod } from '../../src/live/pod.ts'
import { createReplacement } from '../../src/replacement/controller.ts'
import { createLease } from '../../src/replacement/lease.ts'
import { readNote } from '../../src/replacement/note.ts'
import { headPod, workerPod } from '../support/builders.ts'
import { type OwnObjects, ownObjects } from '../support/own-objects.ts'

const dayMs = 86_400_000
const start = Date.parse('2026-05-01T12:00:00Z')
const podsPath = '/api/v1/namespaces/team-a/pods'
const leasePath =
  '/apis/coordination.k8s.io/v1/namespaces/rayguard-system/leases/rayguard-replacement'
const rules = { aheadMs: 15 * dayMs, heads: false, intervalMs: 60_000 }

/** A running Ray pod that is due, if nothing else is said; days from the start. */
function running(
  shape: Pod,
  name: string,
  namespace = 'team-a',
  { ends = 10, created = -80 } = {}
): Pod {
  const notAfter = new Date(start + ends * dayMs).toISOString()
  const message = JSON.stringify({ serialNumber: '1', notAfter, anchorSha256: '' })
  const enroll = { name: 'rayguard-enroll', image: 'rayguard' }
  return {
    ...shape,
    metadata: {
      ...shape.metadata,
      ...{ name, namespace, uid: `${name}-uid` },
      creationTimestamp: new Date(start + created * dayMs).toISOString()
    },
    spec: { ...shape.spec, initContainers: [enroll] },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'True' }],
      initContainerStatuses: [
        { name: 'rayguard-enroll', state: { terminated: { exitCode: 0, message } } }
      ]
    }
  }
}

async function stage(t: Test, names: string[]) {
  const objects = await ownObjects()
  t.teardown(objects.close)
  const shown = new Map<string, LivePod>()
  const show = (pod: Pod) => {
    objects.put(`/api/v1/namespaces/${pod.metadata.namespace}/pods/${pod.metadata.name}`, pod)
    const live = livePod(pod)
    if (live) shown.set(live.uid, live)
  }
  show(running(headPod(), 'head'))
  for (const name of names) show(running(workerPod(), name))
  const replica = (identity: string) => {
    let time = start
    const results: string[] = []
    let objection = async (): Promise<string | undefined> => undefined
    const lease = createLease({
      client: objects.client,
      ...{ namespace: 'rayguard-system', name: 'rayguard-replacement', identity },
      ...{ wall: () => time, steady: () => time - start }
    })
    const { tick, recoveringSince } = createReplacement({
      ...{ client: objects.client, calls: createCalls(objects.client), lease, rules },
      pods: () => shown.values(),
      objection: () => objection(),
      clock: () => time,
      onResult: (pod, result) => results.push(`${pod.name} ${result}`)
    })
    return {
      ...{ lease, tick, recoveringSince, results },
      forward(seconds: number) {
        time += seconds * 1000
      },
      object(next: () => Promise<string | undefined>) {
        objection = next
      }
    }
  }
  /** As the watch shows it a while after an eviction. */
  const vanish = (name: string) => {
    objects.remove(`${podsPath}/${name}`)
    shown.delete(`${name}-uid`)
  }
  return { objects, shown, show, replica, vanish }
}

const evictions = ({ calls }: OwnObjects) =>
  calls.filter(call => call.startsWith('POST') && call.endsWith('/eviction'))
const noted = ({ get }: OwnObjects) =>
  readNote(get(leasePath)?.metadata.annotations?.['rayguard.dev/last-eviction'])

t.test('a pod is evicted as it was judged, and this stands in the Lease first', async t => {
  const { objects, replica, vanish } = await stage(t, ['w1', 'w2'])
  const one = replica('one')
  t.equal(await one.tick(), 'evict')
  t.strictSame(one.results, ['w1 evicted'])
  const order = objects.calls.filter(call => /^(PUT|POST)/.test(call))
  t.match(order.at(-2), /^PUT .*leases/, 'first the Lease')
  t.match(order.at(-1), /^POST .*w1\/eviction/)
  const { resourceVersion } = objects.get(`${podsPath}/w1`)?.metadata ?? {}
  t.match(objects.get(`${podsPath}/w1/eviction/w1`), {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    deleteOptions: { preconditions: { uid: 'w1-uid', resourceVersion } }
  })
  t.match(noted(objects), { pod: 'w1-uid', namespace: 'team-a', at: start })
  t.equal(await one.tick(), 'wait', 'the next one waits')
  vanish('w1')
  one.forward(61)
  t.equal(await one.tick(), 'wait')
  t.equal(one.recoveringSince(), start, 'for the cluster to recover')
  one.forward(11)
  t.equal(await one.tick(), 'evict')
  t.strictSame(one.results, ['w1 evicted', 'w2 evicted'])
})

t.test('what was won by the last eviction is remembered', async t => {
  const { replica, vanish, show } = await stage(t, [])
  const one = replica('one')
  for (const [name, ends, what] of [
    ['w1', 0.2, 'evict'],
    ['w2', 0.2, 'rest'],
    ['w3', 0.3, 'evict']
  ] as const) {
    show(running(workerPod(), name, 'team-a', { ends, created: name === 'w1' ? -80 : 0 }))
    t.equal(await one.tick(), what, `${name} ends in ${ends} days`)
    vanish(name)
    one.forward(0.15 * 86_400)
    await one.tick()
    one.forward(11)
  }
})

t.test('what cannot be evicted now is put off, and the others go on', async t => {
  const { objects, replica, vanish, shown, show } = await stage(t, ['w1', 'w2', 'w3'])
  const one = replica('one')
  objects.answer('/w1/eviction', 429)
  objects.answer('/w2/eviction', 403)
  await one.tick()
  t.equal(noted(objects), undefined, 'nothing has happened that one would have to wait for')
  await one.tick()
  await one.tick()
  t.strictSame(one.results, ['w1 blocked', 'w2 forbidden', 'w3 evicted'])
  vanish('w3')
  objects.answer('/w1/eviction')
  one.forward(61)
  await one.tick()
  one.forward(11)
  await one.tick()
  t.equal(one.results.at(-1), 'w1 evicted', 'a budget may allow it later')

  vanish('w1')
  show(running(workerPod(), 'w4'))
  const leaving = running(workerPod(), 'w4')
  leaving.metadata.deletionTimestamp = new Date(start).toISOString()
  objects.put(`${podsPath}/w4`, leaving)
  for (const seconds of [61, 11]) {
    one.forward(seconds)
    await one.tick()
  }
  t.equal(one.results.at(-1), 'w4 changed', 'the API knows better than the watch')
  objects.put(`${podsPath}/w4`, { ...leaving, metadata: { ...leaving.metadata, uid: 'other' } })
  one.forward(11)
  await one.tick()
  t.equal(one.results.at(-1), 'w4 changed', 'attack: another pod of the same name')
  t.equal(shown.size, 3)
  t.equal(evictions(objects).filter(call => call.includes('w4')).length, 0)

  one.object(async () => 'the namespace is paused')
  show(running(workerPod(), 'w5'))
  await one.tick()
  t.equal(one.results.at(-1), 'w5 objection', 'a pod that would get no certificate')
  t.equal(evictions(objects).filter(call => call.includes('w5')).length, 0)
})

t.test(
  'attack: pods that a budget holds do not keep those of other namespaces waiting',
  async t => {
    const held = Array.from({ length: 20 }, (_, index) => `held${index}`)
    const { objects, replica, show } = await stage(t, held)
    for (const name of held) objects.answer(`/${name}/eviction`, 429)
    show(running(headPod(), 'other-head', 'team-b'))
    show(running(workerPod(), 'other', 'team-b'))
    const one = replica('one')
    await one.tick()
    one.forward(2)
    await one.tick()
    t.match(one.results, [/^held\d+ blocked$/, 'other evicted'])
  }
)

t.test('attack 89: what can never be evicted keeps no other pod waiting', async t => {
  for (const [status, message, result] of [
    [422, 'denied by a policy', 'forbidden'],
    [500, 'This pod has more than one PodDisruptionBudget, which is not supported.', 'blocked']
  ] as const) {
    const { objects, replica } = await stage(t, ['w1', 'w2'])
    objects.answer('/w1/eviction', status, message)
    const one = replica('one')
    await one.tick()
    await one.tick()
    t.strictSame(one.results, [`w1 ${result}`, 'w2 evicted'], message)
  }
})

t.test('an eviction of which nothing is known is waited for', async t => {
  const { objects, replica, vanish } = await stage(t, ['w1', 'w2'])
  const one = replica('one')
  objects.answer('/w1/eviction', 500)
  await t.rejects(one.tick(), { code: 'Unavailable' })
  t.match(noted(objects), { pod: 'w1-uid' })
  t.equal(await one.tick(), 'wait')
  one.forward(61)
  t.equal(await one.tick(), 'evict', 'it lives: nothing came of it')
  t.strictSame(one.results, ['w2 evicted'], 'attack 89: and it keeps no other pod waiting')
  objects.answer('/w1/eviction')
  vanish('w2')
  one.forward(61)
  await one.tick()
  one.forward(11)
  t.equal(await one.tick(), 'evict')
  t.strictSame(one.results, ['w2 evicted', 'w1 evicted'], 'its turn comes again')
})

t.test('one replica acts; another takes over when it is gone, and evicts none twice', async t => {
  const { objects, replica, vanish } = await stage(t, ['w1', 'w2'])
  const [one, two] = [replica('one'), replica('two')]
  t.equal(await one.tick(), 'evict')
  t.equal(await two.tick(), 'standby')
  two.forward(14)
  t.equal(await two.tick(), 'standby', 'a Lease that may still hold is left')
  one.forward(14)
  t.equal(await one.tick(), 'wait', 'its holder renews it')
  two.forward(14)
  t.equal(await two.tick(), 'standby', 'and the time counts anew')
  two.forward(16)
  t.equal(await two.tick(), 'wait', 'the first is gone: the second knows what it did')
  one.forward(30)
  t.equal(await one.tick(), 'standby', 'and should it wake up, it is not the one any more')
  vanish('w1')
  two.forward(61)
  await two.tick()
  two.forward(11)
  t.equal(await two.tick(), 'evict')
  t.strictSame([...one.results, ...two.results], ['w1 evicted', 'w2 evicted'])
  t.equal(evictions(objects).length, 2)
  const spec = (objects.get(leasePath) as { spec?: object }).spec
  t.match(spec, { holderIdentity: 'two', leaseTransitions: 2, leaseDurationSeconds: 15 })
})

t.test('attack: a replica that slept through its Lease does not evict', async t => {
  const { objects, replica } = await stage(t, ['w1', 'w2'])
  const [one, two] = [replica('one'), replica('two')]
  await one.lease.keep()
  await two.tick()
  one.object(async () => {
    // between its look at the Lease and its eviction
    two.forward(16)
    await two.tick()
    return undefined
  })
  t.equal(await one.tick(), 'evict', 'it wants to')
  t.strictSame(one.results, [], 'and does not come to it')
  t.strictSame(two.results, ['w1 evicted'])
  t.equal(evictions(objects).length, 1)
  one.forward(10)
  t.equal(await one.lease.write('x'), false, 'nor when it knows that its time is over')
})

t.test('a pod that a dead watch still shows was evicted all the same', async t => {
  for (const how of ['answered', 'without an answer', 'by a replica that is gone']) {
    const { objects, replica } = await stage(t, ['w1', 'w2'])
    const [one, two] = [replica('one'), replica('two')]
    if (how === 'without an answer') objects.answer('/w1/eviction', 500)
    await one.tick().catch(() => {})
    t.equal(evictions(objects).length, 1, how)
    objects.remove(`${podsPath}/w1`)
    const goesOn = how === 'by a replica that is gone' ? two : one
    // until the copy counts as too old
    for (let seconds = 0; seconds < 150; seconds += 2) {
      goesOn.forward(2)
      await goesOn.tick()
    }
    t.equal(evictions(objects).length, 1, 'the other pod waits for the successor')
  }
})

t.test('a Lease that is given up or deleted is free at once', async t => {
  const { objects, replica } = await stage(t, [])
  const [one, two] = [replica('one'), replica('two')]
  t.equal(await one.tick(), 'rest')
  t.equal(await two.tick(), 'standby')
  await one.lease.release()
  t.equal(one.lease.held(), false)
  t.equal(await two.tick(), 'rest')
  await one.lease.release()
  t.match(objects.get(leasePath), { spec: { holderIdentity: 'two' } }, 'by its holder alone')
  objects.remove(leasePath)
  two.forward(6)
  t.equal(await two.tick(), 'standby')
  t.equal(await two.tick(), 'rest', 'made anew')
  objects.answer('/rayguard-replacement', 500)
  two.forward(6)
  await t.rejects(two.tick(), { code: 'Unavailable' })
  t.equal(two.lease.held(), true, 'a call that failed does not take it away')
  two.forward(4)
  await t.rejects(two.tick(), { code: 'Unavailable' })
  t.equal(two.lease.held(), false)
  objects.answer('/rayguard-replacement')
  t.equal(await two.tick(), 'rest', 'and is taken up again by whose it is')
})

t.test('no pod is evicted where it would come back without a certificate', async t => {
  const objects = await ownObjects()
  t.teardown(objects.close)
  const { client } = objects
  const why = () => objection(client, createCalls(client), 'team-a')
  const put = (labels: Record<string, string>) =>
    objects.put('/api/v1/namespaces/team-a', { metadata: { name: 'team-a', labels } })
  const register = (namespaceSelector: object) =>
    objects.put('/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rayguard', {
      metadata: { name: 'rayguard' },
      webhooks: [{ name: 'pods', namespaceSelector }]
    })
  put({})
  t.match(await why(), /not registered/)
  register({})
  t.equal(await why(), undefined)
  put({ 'rayguard.dev/tls': 'required' })
  t.equal(await why(), undefined)
  put({ 'rayguard.dev/tls': 'disabled' })
  t.match(await why(), /disabled/)
  put({ 'rayguard.dev/tls': 'requird' })
  t.match(await why(), /requird/)
  put({ 'rayguard.dev/paused': '2026' })
  t.match(await why(), /paused/)
  put({})
  register({ matchLabels: { ours: 'yes' } })
  t.match(await why(), /not registered for the namespace/)
  objects.remove('/api/v1/namespaces/team-a')
  t.match(await why(), /no such namespace/)
})
