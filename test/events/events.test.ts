import t, { type Test } from 'tap'
import { enrollmentEvents, liveEvents } from '../../src/cli/components/events.ts'
import { createStandIn } from '../../src/demo/stand-in.ts'
import type { EnrollmentObservation } from '../../src/enrollment/route.ts'
import type { Occurrence, Regarding } from '../../src/events/reasons.ts'
import { leftWithoutTls } from '../../src/events/reasons.ts'
import {
  createEventRecorder,
  type EventRecorder,
  type EventResult
} from '../../src/events/recorder.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import type { LivePod } from '../../src/live/pod.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const start = Date.parse('2026-05-01T12:00:00Z')
const owner = { apiVersion: 'ray.io/v1', name: 'demo', uid: 'demo-uid' }

interface StoredEvent extends KubernetesObject {
  reason: string
  note: string
  regarding: Regarding
  reportingInstance: string
}

async function stage(t: Test) {
  const pair = servingPair()
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  const headers = { authorization: `Bearer ${clientToken}` }
  const client = createClient(
    { server, ca: pair.ca, credentials: async () => ({ headers }) },
    { timeoutMs: 5_000 }
  )
  t.teardown(async () => {
    await client.close()
    await standIn.close()
  })
  let now = start
  const replica = (instance: string) => {
    const results: EventResult[] = []
    const faults: unknown[] = []
    const waiting = new Set<() => void>()
    const recorder = createEventRecorder({
      client,
      clock: () => now,
      controller: 'rayguard.dev/test',
      instance,
      onResult(_, result) {
        results.push(result)
        for (const look of [...waiting]) look()
      },
      onFault: error => faults.push(error)
    })
    /** Once so many were told of. */
    const told = (count: number) =>
      new Promise<EventResult[]>(resolve => {
        const look = () => {
          if (results.length < count) return
          waiting.delete(look)
          resolve(results)
        }
        waiting.add(look)
        look()
      })
    return { recorder, results, faults, told }
  }
  const events = async () =>
    (await client.list<StoredEvent>('/apis/events.k8s.io/v1/namespaces/team-a/events')).items
  return {
    ...{ standIn, replica, events },
    forward(milliseconds: number) {
      now += milliseconds
    }
  }
}

const clusterNamed = (name: string): Regarding => ({
  ...{ apiVersion: 'ray.io/v1', kind: 'RayCluster', namespace: 'team-a', name, uid: `${name}-uid` }
})

t.test('an occurrence is one Event, whoever tells it', async t => {
  const { replica, events, forward } = await stage(t)
  const [one, two] = [replica('one'), replica('two')]
  one.recorder.tell(leftWithoutTls(clusterNamed('demo')))
  t.strictSame(await one.told(1), ['written'])
  one.recorder.tell(leftWithoutTls(clusterNamed('demo')))
  t.strictSame(await one.told(2), ['written', 'repeated'], 'the same replica does not ask again')
  two.recorder.tell(leftWithoutTls(clusterNamed('demo')))
  t.strictSame(await two.told(1), ['repeated'], 'another one finds it there')
  t.match(await events(), [
    {
      reason: 'LeftWithoutTLS',
      type: 'Warning',
      reportingController: 'rayguard.dev/test',
      reportingInstance: 'one',
      regarding: { kind: 'RayCluster', name: 'demo', uid: 'demo-uid' },
      eventTime: /^2026-05-01T12:00:00\.000000Z$/
    }
  ])
  forward(hourMs)
  two.recorder.tell(leftWithoutTls(clusterNamed('demo')))
  t.strictSame(await two.told(2), ['repeated', 'written'], 'an hour later it is news again')
})

t.test('attack: a cluster that falls apart does not fill etcd', async t => {
  const { replica, events } = await stage(t)
  const { recorder, told } = replica('one')
  for (let index = 0; index < 30; index += 1)
    recorder.tell({ ...leftWithoutTls(clusterNamed('demo')), key: String(index) })
  const ofOne = await told(30)
  t.equal(ofOne.filter(result => result === 'dropped').length, 20, 'ten for one object')
  for (let index = 0; index < 300; index += 1)
    recorder.tell(leftWithoutTls(clusterNamed(`c${index}`)))
  await told(330)
  t.equal((await events()).length, 100, 'and a hundred in all')
})

t.test('an API that refuses disturbs nobody', async t => {
  const { standIn, replica, events } = await stage(t)
  const { recorder, told, faults } = replica('one')
  standIn.interfere(({ method }) => (method === 'POST' ? { status: 403 } : undefined))
  for (const name of ['a', 'b', 'c']) recorder.tell(leftWithoutTls(clusterNamed(name)))
  t.strictSame(await told(3), ['failed', 'failed', 'failed'])
  t.equal(faults.length, 1, 'said once')
  standIn.interfere(() => undefined)
  recorder.tell(leftWithoutTls(clusterNamed('d')))
  t.equal((await told(4)).at(-1), 'written')
  await recorder.stop()
  recorder.tell(leftWithoutTls(clusterNamed('e')))
  t.equal((await events()).length, 1, 'nothing after the end')
})

t.test('which enrollments are told', t => {
  let now = start
  const told: Occurrence[] = []
  const recorder: EventRecorder = { tell: each => told.push(each), stop: async () => {} }
  const observe = enrollmentEvents(recorder, () => now)
  const pod = { namespace: 'team-a', name: 'demo-head', uid: 'head-uid' }
  const outcome = (code: EnrollmentObservation['code'], facts: object = { pod, owner }) =>
    observe({
      ...{ code, requestId: 'r', sourceAddress: '192.0.2.1' },
      outcome: { allowed: false, facts, durationSeconds: 0 } as EnrollmentObservation['outcome']
    })
  outcome('TokenNotAuthenticated', {})
  outcome('PodTerminating')
  outcome('NamesRequired')
  t.strictSame(told, [], 'nothing of strangers, and of ordinary ends')

  outcome('SourceAddress')
  t.match(told.splice(0), [
    {
      reason: 'CertificateRefused',
      regarding: { kind: 'RayCluster', uid: 'demo-uid' },
      related: pod
    }
  ])
  const lifetimeLabel = 'The namespace has the label a=3od; expected a duration like 30d.'
  outcome('LifetimeLabel', { pod, owner, lifetimeLabel })
  t.match(told.splice(0), [
    {
      reason: 'LifetimeLabel',
      regarding: { kind: 'RayCluster' },
      note: lifetimeLabel,
      related: undefined
    }
  ])
  outcome('PodNotInjected', { pod })
  t.match(
    told.splice(0),
    [{ regarding: { kind: 'Pod', uid: 'head-uid' } }],
    'without an owner, at the pod'
  )

  outcome('IPNotVisible')
  now += 59_000
  outcome('IPNotVisible')
  t.strictSame(told, [], 'a pod waits a moment')
  now += 1_000
  outcome('IPNotVisible')
  t.match(told.splice(0), [{ reason: 'CertificateDelayed', note: /60 s \(IPNotVisible\)/ }])
  outcome('Issued')
  outcome('IPNotVisible')
  t.strictSame(told, [], 'after a certificate the time counts anew')
  t.end()
})

function workerThatEnds(notAfter: string, changes: Partial<LivePod> = {}): LivePod {
  return {
    ...{ uid: 'w', namespace: 'team-a', name: 'demo-worker', node: 'worker', cluster: owner },
    ...{ tls: 'rayguard', live: true, ready: true, enrolling: false, createdAt: start },
    agent: { ended: 'well', serialNumber: '1', notAfter, anchorSha256: '' },
    ...changes
  }
}

t.test('certificates near their end are told at 14, 7 and 1 day, and when they have ended', t => {
  let now = start
  const told: Occurrence[] = []
  const recorder: EventRecorder = { tell: each => told.push(each), stop: async () => {} }
  const { sweep } = liveEvents(recorder, () => now)
  const at = (days: number) => new Date(start + days * dayMs).toISOString()
  const pod = workerThatEnds(at(90))
  const days = () => told.splice(0).map(({ key, regarding }) => `${regarding.kind} ${key}`)
  now = start + 75 * dayMs
  sweep([pod])
  t.strictSame(days(), [], 'not fifteen days ahead')
  now = start + 76 * dayMs
  sweep([pod, { ...pod, live: false, uid: 'x' }])
  t.strictSame(
    days(),
    [`Pod 14/${at(90)}`, `RayCluster 14/${at(90).slice(0, 13)}`],
    'of pods that live'
  )
  sweep([pod])
  t.strictSame(days(), [], 'once')
  now = start + 83 * dayMs
  sweep([pod])
  t.match(days(), [/^Pod 7/, /^RayCluster 7/])
  now = start + 89 * dayMs
  sweep([pod])
  t.match(days(), [/^Pod 1/, /^RayCluster 1/])
  now = start + 90 * dayMs
  sweep([pod])
  t.match(told, [{ note: /ended at / }, {}])
  t.match(days(), [/^Pod 0/, /^RayCluster 0/])

  now = start + 7.5 * dayMs
  sweep([workerThatEnds(at(10), { uid: 'short' })])
  t.match(days(), [/^Pod 7/, /^RayCluster 7/], 'of a short life its last quarter')
  now = start
  sweep([workerThatEnds(at(1), { uid: 'day' }), workerThatEnds(at(13), { uid: 'fortnight' })])
  t.strictSame(days(), [], 'and not all of it')
  sweep([workerThatEnds(at(-1), { uid: 'liar' })])
  t.strictSame(days(), [], 'attack 60: an end before the pod began')
  t.end()
})

t.test('a thousand certificates that end together are told little by little', t => {
  const told: Occurrence[] = []
  const recorder: EventRecorder = { tell: each => told.push(each), stop: async () => {} }
  const { sweep } = liveEvents(recorder, () => start + 76 * dayMs)
  const notAfter = new Date(start + 90 * dayMs).toISOString()
  const pods = Array.from({ length: 50 }, (_, index) =>
    workerThatEnds(notAfter, { uid: `w${index}` })
  )
  const pace = [1, 2, 3, 4].map(() => {
    sweep(pods)
    return told.splice(0).filter(({ regarding }) => regarding.kind === 'Pod').length
  })
  t.strictSame(pace, [20, 20, 10, 0])
  t.end()
})

t.test('an end that could not be told is told with the next look', async t => {
  const { standIn, replica, events } = await stage(t)
  const { recorder, told } = replica('one')
  const pod = workerThatEnds(new Date(start + 90 * dayMs).toISOString())
  const { sweep } = liveEvents(recorder, () => start + 76 * dayMs)
  standIn.interfere(({ method }) => (method === 'POST' ? { status: 500 } : undefined))
  sweep([pod])
  t.strictSame(await told(2), ['failed', 'failed'], 'the API server has a fault')
  standIn.interfere(() => undefined)
  sweep([pod])
  t.strictSame((await told(4)).slice(2), ['written', 'written'])
  sweep([pod])
  t.equal((await events()).length, 2, 'once')
})

t.test('an end is one Event, whichever replica tells it, and after a restart', async t => {
  const { replica, events } = await stage(t)
  const [one, two] = [replica('one'), replica('two')]
  const pod = workerThatEnds(new Date(start + 90 * dayMs).toISOString())
  const hoursLate = (hours: number) => () => start + 76 * dayMs + hours * hourMs
  liveEvents(one.recorder, hoursLate(0)).sweep([pod])
  t.strictSame(await one.told(2), ['written', 'written'])
  liveEvents(two.recorder, hoursLate(0.75)).sweep([pod])
  t.strictSame(await two.told(2), ['repeated', 'repeated'], 'for the API server has it')
  t.same(
    new Set((await events()).map(({ regarding }) => regarding.kind)),
    new Set(['Pod', 'RayCluster'])
  )
  const told: Occurrence[] = []
  const later: EventRecorder = { tell: each => told.push(each), stop: async () => {} }
  liveEvents(later, hoursLate(1)).sweep([pod])
  t.strictSame(told, [], 'and does so no more when it might have forgotten the first')
})
