/** On which CA a RayCluster is, case by case. */
import t from 'tap'
import { settlingMs, type TrustRecord } from '../../src/authority/per-cluster/record.ts'
import {
  type ClusterPod,
  type Facts,
  holdAnother,
  mayTrustOwn,
  standingOf
} from '../../src/authority/per-cluster/standing.ts'
import { dayMs, head } from '../support/per-cluster-stage.ts'

t.test('the standing of a cluster, case by case', async t => {
  const at = 1_000 * dayMs
  const entry = { namespace: 'team', name: 'one', uid: 'u', usedAt: 0 }
  const ca = { ...entry, trust: 'perCluster' as const, certificate: '', key: { plain: '' } }
  const claim = { ...entry, trust: 'shared' as const }
  const held = (createdAt: number) => head(createdAt, 'held')
  const unknown = (createdAt: number) => head(createdAt, 'unknown')
  const none = (createdAt: number) => head(createdAt, 'none')
  const foreign = head(at, 'foreign')
  const unjudged = head(at, 'unjudged')
  const later = at + dayMs
  const first = at + settlingMs
  const worker: ClusterPod = { node: 'worker', createdAt: later, certificate: 'unknown' }
  type Case = [string, string, Partial<Omit<Facts, 'record'>>]
  const perCluster: Case[] = [
    ['its head asks', 'make', {}],
    ['attack 76: nobody runs it', 'headless', { pods: [] }],
    ['attack 76: workers name it', 'headless', { pods: [worker] }],
    ['its head asks beside workers', 'make', { pods: [worker, unknown(later)] }],
    ['others do not know yet', 'stillShared', { now: first - 1 }],
    ['they do', 'make', { now: first }],
    ['a pod from before', 'stillShared', { pods: [held(at - 1)] }],
    ['a pod from before that gave up', 'make', { pods: [none(at - 1)] }],
    ['a pod of then that says nothing', 'stillShared', { pods: [unknown(first - 1)] }],
    ['a pod of after', 'make', { pods: [unknown(first)] }],
    ['attack: a status that says a certificate', 'lost', { pods: [held(first)] }],
    ['its CA is lost', 'lost', { pods: [foreign] }],
    ['lost, and others do not know yet', 'lost', { pods: [foreign], now: at }],
    ['which CA all share is not known', 'unjudged', { pods: [unjudged] }],
    ['nor that, and one is foreign', 'lost', { pods: [unjudged, foreign] }],
    ['written down, a pod holds one of either', 'stillShared', { found: claim, pods: [unjudged] }],
    ['written down, a pod holds it', 'stillShared', { found: claim, pods: [held(later)] }],
    ['one of a former shared CA', 'stillShared', { found: claim, pods: [foreign] }],
    ['signed a moment ago', 'stillShared', { found: { ...claim, usedAt: later } }],
    [
      'then it was there',
      'stillShared',
      { found: { ...claim, usedAt: first }, pods: [unknown(first)] }
    ],
    ['then it was not', 'make', { found: { ...claim, usedAt: first }, pods: [unknown(later)] }],
    ['written down, all are made anew', 'make', { found: claim }],
    [
      'written down, others just know',
      'make',
      { found: claim, pods: [unknown(first)], now: first }
    ],
    ['written down, the head is to come', 'headless', { found: claim, pods: [worker] }],
    ['written down, all are gone', 'headless', { found: claim, pods: [] }],
    ['others do not know yet', 'stillShared', { found: claim, now: first - 1 }],
    ['it has a CA', 'own', { found: ca, pods: [held(at - 1)] }],
    ['it has a CA, its head is replaced', 'own', { found: ca, pods: [worker] }],
    ['it has a CA, at once', 'own', { found: ca, pods: [], now: at }]
  ]
  const shared: Case[] = [
    ['a new cluster', 'shared', {}],
    ['others may make a CA', 'stillShared', { now: first - 1 }],
    ['its CA is lost', 'lost', { pods: [foreign] }],
    ['which CA all share is not known', 'unjudged', { pods: [unjudged] }],
    ['it has a CA that may be in use', 'stillOwn', { found: ca, pods: [unjudged] }],
    ['it has a CA in use', 'stillOwn', { found: ca, pods: [foreign] }],
    ['others may use it', 'stillOwn', { found: ca, now: first - 1 }],
    ['a pod of then that says nothing', 'stillOwn', { found: ca, pods: [unknown(first - 1)] }],
    ['a pod of after', 'release', { found: ca, pods: [unknown(first)] }],
    ['used a moment ago', 'stillOwn', { found: { ...ca, usedAt: later } }],
    ['its CA is idle', 'release', { found: ca, pods: [none(at)] }],
    ['back before it changed', 'shared', { found: claim, pods: [held(at)] }],
    ['others may make a CA of it', 'stillShared', { found: claim, now: at }]
  ]
  for (const [trust, cases] of Object.entries({ perCluster, shared })) {
    for (const [what, expected, facts] of cases) {
      const record = { trust: trust as TrustRecord['trust'], since: at }
      const all = { record, found: undefined, pods: [unknown(later)], now: later, ...facts }
      t.equal(standingOf(all), expected, `${trust}: ${what}`)
    }
  }
  const since = { record: { trust: 'perCluster', since: 0 } as const, found: undefined, now: at }
  t.equal(standingOf({ ...since, pods: [unknown(at)] }), 'make', 'nothing ever was shared')
  t.equal(standingOf({ ...since, pods: [held(at)] }), 'lost', 'so nobody can hold it')
})

t.test('whether pods may trust a CA that is lost, case by case', async t => {
  const pods = (...certificates: ClusterPod['certificate'][]) =>
    certificates.map(certificate => head(0, certificate))
  for (const [what, perCluster, shared, live] of [
    ['nobody is there', true, false, pods()],
    ['nobody has one', true, false, pods('none')],
    ['nothing is said', true, true, pods('none', 'unknown')],
    ['it is said', true, true, pods('unknown', 'foreign')],
    ['the shared one is held', false, false, pods('held')],
    ['the shared one is held, and one has not said', false, false, pods('unknown', 'held')],
    ['one holds it', true, true, pods('held', 'foreign')]
  ] as [string, boolean, boolean, ClusterPod[]][]) {
    t.equal(mayTrustOwn({ trust: 'perCluster' }, live), perCluster, `perCluster: ${what}`)
    t.equal(mayTrustOwn({ trust: 'shared' }, live), shared, `shared: ${what}`)
  }
})

t.test('whether pods say that their CA is another one, case by case', async t => {
  const says = (certificate: ClusterPod['certificate'], anchorKeySha256?: string): ClusterPod => ({
    ...head(0, certificate),
    ...(anchorKeySha256 !== undefined && { anchorKeySha256 })
  })
  const silent = says('unknown')
  for (const [what, expected, ...live] of [
    ['nobody is there', false],
    ['nothing is said', false, silent],
    ['it is this one', false, says('foreign', 'this')],
    ['it is another', true, says('foreign', 'other'), silent],
    ['of both', false, says('foreign', 'other'), says('foreign', 'this')],
    ['an agent from before does not say which', false, says('foreign', 'other'), says('foreign')],
    ['the shared one is none of them', false, says('held', 'other')]
  ] as [string, boolean, ...ClusterPod[]][]) {
    t.equal(holdAnother(live, ['that', 'this']), expected, what)
  }
})
