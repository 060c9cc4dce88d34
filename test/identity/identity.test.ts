import fc from 'fast-check'
import t, { type Test } from 'tap'
import { createStandIn } from '../../src/demo/stand-in.ts'
import { createIdentity, type Identity } from '../../src/identity/identity.ts'
import { createPodIndex } from '../../src/identity/pods.ts'
import { likelyToken } from '../../src/identity/token.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import { image, rayPod } from '../support/ray-objects.ts'

async function start(t: Test, clock: () => number = Date.now) {
  const pair = servingPair()
  const standIn = createStandIn({ ...pair, clientToken, clock })
  let silent = false
  const { subscribe } = standIn.store
  standIn.store.subscribe = listener => subscribe(event => silent || listener(event))
  const client = createClient(connectionTo(await standIn.listen(), pair.ca), { timeoutMs: 5_000 })
  const steady = { now: 0 }
  const pods = createPodIndex({
    ...{ client, random: Math.random },
    clock: () => steady.now,
    backoffMs: 1
  })
  pods.start()
  await pods.whenSynced
  t.teardown(async () => {
    await pods.stop()
    await client.close()
    await standIn.close()
  })
  const identity = createIdentity({
    calls: createCalls(client),
    pods,
    audience: 'rayguard',
    images: ['registry.test/rayguard:0', image],
    clusterDomain: 'cluster.local',
    shortNames: false,
    clock
  })
  /** Watches go on and bring nothing. */
  const silence = () => {
    silent = true
  }
  return { standIn, pods, identity, silence, steady }
}

t.test('the rights that are missing are told by name', async t => {
  const { standIn, identity } = await start(t)
  t.same(await identity.checkPermissions(), [], 'all are there')
  standIn.deny('create authentication.k8s.io/tokenreviews', 'watch /pods', 'get ray.io/rayjobs')
  t.same(
    await identity.checkPermissions(),
    ['create tokenreviews.authentication.k8s.io', 'watch pods', 'get rayjobs.ray.io'],
    'these are not'
  )
  standIn.interfere(() => ({ status: 500 }))
  await t.rejects(identity.checkPermissions(), { code: 'Unavailable' }, 'an API fault is one')
})

t.test('attack 12: an address is held by every live pod that shows it', async t => {
  const { standIn, pods } = await start(t)
  const held = (uid: string, ...ips: string[]) => {
    const other = pods.otherHolder(uid, ips)
    return other && `${other.namespace}/${other.name}`
  }
  const seen = async (name: string, ...ips: string[]) => {
    const pod = standIn.put(rayPod({ name, ips }))
    await pods.whenShown(`${name}-uid`, ips, { timeoutMs: 30_000 })
    return pod
  }
  const one = await seen('one', '10.0.0.1', 'fd00::1')
  await seen('two', '10.0.0.2')
  t.equal(held('one-uid', '10.0.0.1', 'fd00::1'), undefined, 'its own are its own')
  t.equal(held('two-uid', '10.0.0.2', 'fd00::1'), 'team-a/one', 'the second address counts as well')
  await seen('one', '10.0.0.9')
  t.equal(held('two-uid', 'fd00::1'), undefined, 'a pod that has moved has given it back')
  standIn.put({ ...one, metadata: { ...one.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } })
  await pods.whenShown('one-uid', ['10.0.0.1', 'fd00::1'], { timeoutMs: 30_000 })
  t.equal(held('two-uid', '10.0.0.1'), 'team-a/one', 'attack 11: one that is going still has it')
  standIn.put({ ...one, status: { ...one.status, phase: 'Succeeded' } })
  const odd = rayPod({ name: 'odd', ips: ['not-an-address'] })
  standIn.put(odd)
  await pods.whenShown('odd-uid', ['not-an-address'], { timeoutMs: 30_000 })
  t.equal(held('two-uid', '10.0.0.1'), undefined, 'one that has finished has not')
  const onNode = rayPod({ name: 'on-node', ips: ['10.0.0.2'] })
  onNode.spec.hostNetwork = true
  standIn.put(onNode)
  await seen('last', '10.0.0.3')
  t.equal(
    held('two-uid', '10.0.0.2'),
    undefined,
    'a pod on its node shares an address with its like'
  )
})

t.test('what only a dead watch shows of addresses keeps no pod out', async t => {
  const { standIn, pods, identity, silence } = await start(t)
  const ip = '10.0.0.1'
  const put = (name: string, uid = `${name}-uid`) => {
    const pod = rayPod({ name, ips: [ip] })
    return standIn.put({ ...pod, metadata: { ...pod.metadata, uid } })
  }
  const [one, two] = [put('one'), put('two')]
  for (const uid of ['one-uid', 'two-uid']) await pods.whenShown(uid, [ip], { timeoutMs: 30_000 })
  silence()
  const next = put('next')
  const judged = async (asks = next) => {
    const proof = await identity.addresses(asks, [ip])
    return proof.allowed ? 'allowed' : proof.code
  }
  standIn.remove(one)
  t.equal(await judged(), 'IPConflict', 'one of two is gone')
  standIn.put({ ...two, status: { ...two.status, phase: 'Failed' } })
  t.equal(await judged(), 'allowed', 'the other has finished')
  standIn.put({
    ...two,
    status: { ...two.status, podIP: '10.0.0.9', podIPs: [{ ip: '10.0.0.9' }] }
  })
  t.equal(await judged(), 'allowed', 'or has moved')
  standIn.put({ ...two, metadata: { ...two.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } })
  t.equal(await judged(), 'IPConflict', 'attack 11: one that is going still has it')
  const anew = put('two', 'another-uid')
  t.equal(await judged(), 'IPConflict', 'attack 12: another of that name has it')
  t.equal(await judged(anew), 'allowed', 'who is that one itself')
  standIn.interfere(() => ({ status: 500 }))
  t.equal(await judged(), 'ApiUnavailable', 'what cannot be read is no "yes"')
})

t.test('attack 12: who gets the address while another is looked at holds it, too', async t => {
  const { standIn, pods, identity } = await start(t)
  const ips = ['10.0.0.1']
  const seen = async (name: string) => {
    const pod = standIn.put(rayPod({ name, ips }))
    await pods.whenShown(`${name}-uid`, ips, { timeoutMs: 30_000 })
    return pod
  }
  const [, asks] = [await seen('former'), await seen('asks')]
  standIn.interfere(({ path }) =>
    path.endsWith('/former') ? { until: seen('late'), status: 404 } : undefined
  )
  t.match(await identity.addresses(asks, ips), { code: 'IPConflict' })
})

t.test('attack 12: what was lost while another is looked at does not count as known', async t => {
  const { standIn, pods, identity, steady, silence } = await start(t)
  const ips = ['10.0.0.1']
  const former = standIn.put(rayPod({ name: 'former', ips }))
  await pods.whenShown('former-uid', ips, { timeoutMs: 30_000 })
  silence()
  const asks = standIn.put(rayPod({ name: 'asks', ips }))
  standIn.remove(former)
  steady.now += 149_000
  standIn.interfere(({ path }) => {
    if (path.endsWith('/former')) steady.now += 5_000
    return undefined
  })
  t.match(await identity.addresses(asks, ips), { allowed: false, code: 'NotReady' })
})

t.test('a former image may still enroll, and so may another version of the group', async t => {
  const { standIn, identity } = await start(t)
  const pod = rayPod({ ips: ['10.0.0.1'] })
  if (pod.spec.initContainers?.[0]) pod.spec.initContainers[0].image = 'registry.test/rayguard:0'
  const stored = standIn.put(pod)
  const proof = await holderOf(identity, standIn.issueToken(stored))
  t.match(
    await identity.pod(proof),
    { allowed: true, pod: { metadata: { uid: 'demo-worker-1-uid' } } },
    'former'
  )
  standIn.put({
    apiVersion: 'ray.io/v1alpha1',
    kind: 'RayCluster',
    metadata: { name: 'demo', namespace: 'team-a', uid: 'demo-cluster-uid' }
  })
  const owned = structuredClone(stored)
  const [reference] = owned.metadata.ownerReferences ?? []
  if (reference) reference.apiVersion = 'ray.io/v1alpha1'
  t.match(await identity.owner(owned), { allowed: true }, 'v1alpha1')
})

t.test(
  'pods that ask at one time share the call for their RayCluster, later ones do not',
  async t => {
    const { standIn, identity } = await start(t)
    const pod = standIn.put(rayPod({ ips: ['10.0.0.1'] }))
    const rayCluster = {
      apiVersion: 'ray.io/v1',
      kind: 'RayCluster',
      metadata: { name: 'demo', namespace: 'team-a', uid: 'demo-cluster-uid' }
    }
    standIn.put(rayCluster)
    const other = { ...pod, metadata: { ...pod.metadata, namespace: 'team-b' } }
    const asked = (namespace: string) =>
      standIn.requests.filter(sent => sent.endsWith(`${namespace}/rayclusters/demo`)).length
    const together = await Promise.all([pod, pod, other, pod].map(identity.owner))
    t.same(
      together.map(({ allowed }) => allowed),
      [true, true, false, true],
      'each has its own answer'
    )
    t.equal(asked('team-a'), 1, 'one call')
    standIn.remove(rayCluster)
    t.match(await identity.owner(pod), { code: 'RayClusterNotFound' }, 'nothing is remembered')
    standIn.interfere(() => ({ status: 500 }))
    const faults = await Promise.all([pod, pod].map(identity.owner))
    t.match(faults, [{ code: 'ApiUnavailable' }, { code: 'ApiUnavailable' }], 'a fault is for all')
    standIn.interfere(undefined)
    standIn.put(rayCluster)
    t.match(await identity.owner(pod), { allowed: true }, 'and for nobody later')
  }
)

t.test('old API servers name no node and no credential', async t => {
  const { standIn, identity } = await start(t)
  const pod = rayPod({ ips: ['10.0.0.1'] })
  const { nodeName: _, ...spec } = pod.spec
  const stored = standIn.put({ ...pod, spec })
  const holder = await holderOf(identity, standIn.issueToken(stored, { claims: { jti: '' } }))
  t.notOk('nodeName' in holder, 'no node')
  t.match(await identity.pod(holder), { allowed: true }, 'which is no hindrance')
})

t.test('attack 50: a token at its end is read anew, whoever’s clock is right', async t => {
  let now = Date.parse('2026-01-01T00:00:00Z')
  const { standIn, identity } = await start(t, () => now)
  const pod = standIn.put(rayPod())
  const token = standIn.issueToken(pod)
  const likely = identity.likelyToken(`Bearer ${token}`)
  if (!likely.allowed) throw new Error(likely.reason)
  now += 590_000
  standIn.interfere(({ path }) =>
    path.endsWith('tokenreviews')
      ? { status: 201, body: { status: { error: 'expired' } } }
      : undefined
  )
  t.match(await identity.holder(likely), { code: 'TokenExpired' }, 'the API server is ahead')
  now += 10_000
  t.match(identity.likelyToken(`Bearer ${token}`), { code: 'TokenExpired' }, 'both agree')
})

t.test(
  'attack 45: whatever is shown as a token is judged without a call and without a crash',
  async t => {
    const judge = (authorization: string | undefined) => likelyToken(authorization, 'rayguard', 0)
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String(), fc.json()), text => {
        const payload = Buffer.from(text).toString('base64url')
        return (
          !judge(text).allowed &&
          !judge(`Bearer ${text}`).allowed &&
          !judge(`Bearer a.${payload}.c`).allowed
        )
      }),
      { numRuns: 1000 }
    )
    const shown = (claims: unknown) => {
      const proof = judge(
        `bearer  a.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c `
      )
      return proof.allowed ? 'allowed' : proof.code
    }
    const claims = {
      sub: 'system:serviceaccount:a:b',
      aud: ['rayguard'],
      exp: 1,
      'kubernetes.io': { pod: { name: 'a', uid: 'b' } }
    }
    t.equal(shown(claims), 'allowed', 'what it must have')
    t.equal(shown({ ...claims, aud: 'rayguard' }), 'allowed', 'one audience as text')
    t.equal(shown({ ...claims, aud: [['rayguard']] }), 'TokenAudience', 'nested')
    t.equal(shown({ ...claims, aud: null }), 'TokenAudience', 'none')
    t.equal(shown({ ...claims, exp: '1' }), 'TokenMalformed', 'text as a time')
    t.equal(shown({ ...claims, exp: 0 }), 'TokenExpired', 'over')
    t.equal(shown({ ...claims, 'kubernetes.io': null }), 'TokenNotBound', 'no pod')
    t.equal(
      shown({ ...claims, 'kubernetes.io': { pod: null } }),
      'TokenNotBound',
      'a pod that is null'
    )
    t.equal(shown([]), 'TokenMalformed', 'a list')
    t.equal(shown(null), 'TokenMalformed', 'null')
  }
)

async function holderOf(identity: Identity, token: string) {
  const likely = identity.likelyToken(`Bearer ${token}`)
  if (!likely.allowed) throw new Error(likely.reason)
  const holder = await identity.holder(likely)
  if (!holder.allowed) throw new Error(holder.reason)
  return holder
}
