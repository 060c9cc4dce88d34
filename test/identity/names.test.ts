import fc from 'fast-check'
import t from 'tap'
import { createStandIn } from '../../src/demo/stand-in.ts'
import { claimedAddresses, sourceFault, visibleAddresses } from '../../src/identity/addresses.ts'
import { roleOf, stableServiceOf } from '../../src/identity/cluster.ts'
import { createIdentity } from '../../src/identity/identity.ts'
import { certificateNames } from '../../src/identity/names.ts'
import { createPodIndex } from '../../src/identity/pods.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type { Pod, RayCluster } from '../../src/kubernetes/objects.ts'
import { canonicalAddress } from '../../src/x509/names.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import {
  controllerReference,
  namespace,
  rayCluster,
  rayPod,
  serviceOf
} from '../support/ray-objects.ts'

const naming = { clusterDomain: 'cluster.local', shortNames: false }

t.test('short names are there only by setting', async t => {
  const facts = { namespace, addresses: ['10.0.0.7'], headServices: ['demo-head-svc'] }
  t.same(
    certificateNames(facts, { ...naming, clusterDomain: 'corp.test', shortNames: true }),
    {
      dnsNames: [
        'localhost',
        'demo-head-svc.team-a.svc.corp.test',
        'demo-head-svc.team-a.svc',
        'demo-head-svc.team-a',
        'demo-head-svc'
      ],
      ipAddresses: ['127.0.0.1', '::1', '10.0.0.7']
    },
    'all four'
  )
  t.same(
    certificateNames(facts, naming)?.dnsNames,
    ['localhost', 'demo-head-svc.team-a.svc.cluster.local'],
    'one without it'
  )
  t.equal(certificateNames({ ...facts, headServices: ['*'] }, naming), undefined, 'no odd name')
  t.equal(certificateNames({ ...facts, addresses: ['10.0.0.0/8'] }, naming), undefined, 'no range')
})

t.test('addresses are compared by what they are, not how they are spelt', async t => {
  const pod = rayPod({ ips: ['10.0.0.7', 'fd00:0:0::7'] })
  const claim = (...ips: string[]) => visibleAddresses(pod, claimedAddresses(ips) ?? [])
  t.match(
    claim('FD00::7', '::ffff:10.0.0.7'),
    { allowed: true, addresses: ['10.0.0.7', 'fd00::7'] },
    'same'
  )
  t.match(claim('10.0.0.7'), { code: 'IPMismatch' }, 'one too few')
  t.match(claim('10.0.0.7', '10.0.0.8'), { code: 'IPMismatch' }, 'another one')
  t.match(claim('10.0.0.7', 'fd00::7', 'fd00::8'), { code: 'IPMismatch' }, 'one too many')
  t.match(
    visibleAddresses({ ...pod, status: { podIP: '10.0.0.7' } }, ['10.0.0.7']),
    { allowed: true },
    'podIP alone'
  )
  t.equal(claimedAddresses(['10.0.0.7', 'fe80::1%eth0']), undefined, 'a zone is no address')
  for (const ip of [
    '0.0.0.0',
    '::',
    '169.254.169.254',
    'fe80::1',
    'ff02::1',
    '239.1.1.1',
    '255.255.255.255',
    'junk'
  ])
    t.match(
      visibleAddresses({ ...pod, status: { podIPs: [{ ip }] } }, [canonicalAddress(ip) ?? ip]),
      { code: 'IPNotVisible' },
      `attack 15: a status with ${ip}`
    )
  t.equal(sourceFault('::ffff:10.0.0.7', ['10.0.0.7']), undefined, 'a mapped peer is the IPv4 one')
  t.match(sourceFault('::ffff:10.0.0.8', ['10.0.0.7']), { code: 'SourceAddress' }, 'another')
  t.match(sourceFault(undefined, ['10.0.0.7']), { code: 'SourceAddress' }, 'a peer that has gone')
})

const hostile = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.constantFrom(
    '*',
    '',
    '.',
    '..',
    'victim',
    'victim-head-svc',
    'victim-head-svc.team-b',
    'victim-head-svc.team-b.svc.cluster.local',
    'localhost',
    '10.9.9.9',
    '__proto__',
    'constructor',
    'kubernetes',
    'demo',
    'demo-head-svc'
  )
)
const labels = fc.dictionary(
  fc.oneof(
    hostile,
    fc.constantFrom(
      'ray.io/cluster',
      'ray.io/node-type',
      'ray.io/originated-from-cr-name',
      'ray.io/originated-from-crd'
    )
  ),
  fc.oneof(hostile, fc.constantFrom('head', 'worker', 'demo', 'RayService'))
)
const owners = fc.array(
  fc.record({
    apiVersion: fc.constantFrom('ray.io/v1', 'ray.io/v1alpha1', 'batch/v1', 'evil.io/v1'),
    kind: fc.constantFrom('RayService', 'RayJob', 'RayCluster', 'Job'),
    name: hostile,
    uid: fc.constantFrom('victim-uid', 'shop-uid', 'invented'),
    controller: fc.boolean()
  }),
  { maxLength: 2 }
)

t.test(
  'attacks 18, 20, 72: whatever a pod and a RayCluster say, no name goes beyond what the API confirms',
  async t => {
    const pair = servingPair()
    const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
    const client = createClient(connectionTo(await standIn.listen(), pair.ca), { timeoutMs: 5_000 })
    const pods = createPodIndex({ client, random: Math.random, clock: () => performance.now() })
    t.teardown(async () => {
      await client.close()
      await standIn.close()
    })
    const victim = rayCluster('victim')
    standIn.put(victim)
    standIn.put(serviceOf(victim, 'victim-head-svc'))
    standIn.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'kubernetes', namespace } })
    standIn.put({
      apiVersion: 'ray.io/v1',
      kind: 'RayService',
      metadata: { name: 'shop', namespace, uid: 'shop-uid' }
    })
    const demo = rayCluster()
    standIn.put(demo)
    standIn.put(serviceOf(demo, 'demo-head-svc'))
    standIn.put(serviceOf(demo, 'demo-headless'))
    const identity = createIdentity({
      calls: createCalls(client),
      pods,
      audience: 'rayguard',
      images: [],
      clock: Date.now,
      ...naming
    })
    const confirmed = new Set([
      'localhost',
      'demo-head-svc.team-a.svc.cluster.local',
      'shop-head-svc.team-a.svc.cluster.local'
    ])
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          labels,
          annotations: labels,
          hostname: hostile,
          subdomain: fc.oneof(hostile, fc.constant('demo-headless')),
          clusterLabels: labels,
          clusterOwners: owners,
          serviceName: hostile,
          givenName: hostile,
          head: fc.boolean()
        }),
        async wild => {
          const cluster: RayCluster = {
            ...demo,
            metadata: {
              ...demo.metadata,
              labels: wild.clusterLabels,
              annotations: wild.labels,
              ownerReferences: wild.clusterOwners
            },
            spec: { headGroupSpec: { headService: { metadata: { name: wild.givenName } } } },
            status: { head: { serviceName: wild.serviceName, podName: 'demo-worker-1' } }
          }
          const pod = rayPod({ cluster: demo, ips: ['10.0.0.7'] })
          pod.metadata.annotations = wild.annotations
          pod.metadata.labels = { ...wild.labels }
          pod.spec.hostname = wild.hostname
          pod.spec.subdomain = wild.subdomain
          const role = wild.head ? 'head' : 'worker'
          const proof = await identity.names({
            pod,
            rayCluster: cluster,
            role,
            addresses: ['10.0.0.7']
          })
          if (!proof.allowed) return proof.code === 'HeadServiceNotKnown'
          // Its own name below a Service that the API confirms as its RayCluster's.
          const own = `${wild.hostname}.${wild.subdomain}.team-a.svc.cluster.local`
          const below = ['demo-headless', 'demo-head-svc'].includes(wild.subdomain)
            ? own
            : undefined
          const granted = proof.names.dnsNames.filter(name => name !== below)
          const expectedAddresses = proof.names.ipAddresses.join() === '127.0.0.1,::1,10.0.0.7'
          if (role === 'worker' && granted.some(name => name !== 'localhost')) return false
          return expectedAddresses && granted.every(name => confirmed.has(name))
        }
      ),
      { numRuns: 500 }
    )
    t.pass('five hundred hostile pods have gained nothing')
  }
)

t.test(
  'the stable Service is that of a RayService or RayJob that exists, and never another’s',
  async t => {
    const pair = servingPair()
    const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
    const client = createClient(connectionTo(await standIn.listen(), pair.ca), { timeoutMs: 5_000 })
    const calls = createCalls(client)
    t.teardown(async () => {
      await client.close()
      await standIn.close()
    })
    const job = {
      apiVersion: 'ray.io/v1',
      kind: 'RayJob',
      metadata: { name: 'job', namespace, uid: 'job-uid' }
    }
    const cluster = rayCluster('job-x')
    t.equal(await stableServiceOf(calls, cluster), undefined, 'a RayCluster of nobody')
    cluster.metadata.ownerReferences = [controllerReference(job)]
    t.equal(await stableServiceOf(calls, cluster), undefined, 'of a job that does not exist')
    standIn.put({ ...job, metadata: { ...job.metadata, uid: 'other' } })
    t.equal(await stableServiceOf(calls, cluster), undefined, 'of a former job of that name')
    standIn.put(job)
    t.equal(await stableServiceOf(calls, cluster), 'job-head-svc', 'its Service may still come')
    standIn.put(serviceOf(job, 'job-head-svc'))
    t.equal(await stableServiceOf(calls, cluster), 'job-head-svc', 'or be there')
    standIn.put(serviceOf(rayCluster('job'), 'job-head-svc'))
    t.equal(
      await stableServiceOf(calls, cluster),
      undefined,
      'attack 72: a RayCluster called job has it'
    )
  }
)

t.test('a head is known by name, or by address under an operator that has no name', async t => {
  const head = (status: RayCluster['status']): string => {
    const cluster = rayCluster('demo', status)
    const pod: Pod = rayPod({ name: 'h', cluster, node: 'head' })
    const proof = roleOf(pod, cluster, ['10.0.0.7', 'fd00::7'])
    return proof.allowed ? proof.role : proof.code
  }
  t.equal(head({ head: { podName: 'h' } }), 'head', 'named')
  t.equal(
    head({ head: { podName: 'other', podIP: '10.0.0.7' } }),
    'HeadNotKnown',
    'another is named'
  )
  t.equal(head({ head: { podName: '', podIP: '10.0.0.7' } }), 'HeadNotKnown', 'none is named')
  t.equal(head({ head: { podIP: 'FD00:0::7' } }), 'head', 'its address is named')
  t.equal(head({ head: { podIP: '10.0.0.8' } }), 'HeadNotKnown', 'another address is named')
  t.equal(head({ head: {} }), 'HeadNotKnown', 'nothing is known')
  t.equal(head({}), 'HeadNotKnown', 'less than nothing')
})
