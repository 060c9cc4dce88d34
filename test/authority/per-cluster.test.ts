import { createPublicKey, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import type {
  Authority,
  IntermediateRequest,
  KeyProtection,
  RayClusterReference
} from '../../src/authority/authority.ts'
import { AuthorityError } from '../../src/authority/authority.ts'
import { createLocalIssuer } from '../../src/authority/local.ts'
import { usableChain } from '../../src/authority/pem-files.ts'
import { openPemKey } from '../../src/authority/pem-key.ts'
import { entryIn, recordSecret, secretOf } from '../../src/authority/per-cluster/entries.ts'
import {
  createPerClusterAuthority,
  type PerClusterOptions
} from '../../src/authority/per-cluster/per-cluster.ts'
import {
  createRecord,
  freshMs,
  type Past,
  recordIn,
  settlingMs,
  type TrustRecord
} from '../../src/authority/per-cluster/record.ts'
import { createClusterSecrets } from '../../src/authority/per-cluster/secrets.ts'
import {
  type ClusterPod,
  type Facts,
  standingOf
} from '../../src/authority/per-cluster/standing.ts'
import { createUpkeep } from '../../src/authority/per-cluster/upkeep.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
const pair = servingPair()
const namespace = 'rayguard-system'
const daySeconds = 86_400
const dayMs = daySeconds * 1000
const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
makeCa(workshop, 'root', { days: 3650 })

/** The external CA; its clock and what it seals with are the test's. */
interface Counting extends Authority {
  made: number
}

function external(clock: () => number, changes: Partial<Authority> = {}, name = 'root'): Counting {
  const chain = usableChain(workshop.read(`${name}.crt`), { now: new Date(clock()) })
  const key = openPemKey(workshop.read(`${name}.key`))
  const issuer = createLocalIssuer('pem', chain, key, { clock, random: randomBytes })
  const authority = {
    namesFrom: 'server' as const,
    made: 0,
    issue: issuer.issue,
    describe: issuer.describe,
    intermediates: {
      ...issuer.intermediates,
      async issue(request: Parameters<typeof issuer.intermediates.issue>[0]) {
        authority.made += 1
        return await issuer.intermediates.issue(request)
      }
    },
    async close() {},
    ...changes
  }
  return authority
}

const own = (pem: string) => workshop.write('anchor.crt', pem)
/** As gRPC does: the anchor alone is trusted, whatever is above it. */
function accepts(anchor: string, leaf: string, at: number, also = ''): boolean {
  own(anchor)
  workshop.write('leaf.crt', leaf)
  workshop.write('also.crt', also || leaf)
  const time = ['-attime', String(Math.floor(at / 1000))]
  return workshop.judge(
    ...['verify', '-x509_strict', '-partial_chain', '-CAfile', 'anchor.crt'],
    ...['-untrusted', 'also.crt', ...time, 'leaf.crt']
  ).ok
}

/** A stand-in API server and as many replicas as a test asks for. */
async function stage(t: Test) {
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  const pods = new Map<string, ClusterPod[]>()
  const changes: string[] = []
  const time = { now: Math.floor(Date.now() / 1000) * 1000 + 2000 }
  t.teardown(() => standIn.close())

  function replica(options: Partial<PerClusterOptions> = {}) {
    const client = createClient(connectionTo(server, pair.ca), { timeoutMs: 30_000 })
    t.teardown(() => client.close())
    const secrets = createClusterSecrets(client, namespace)
    const inner: Authority & { made?: number } = options.authority ?? external(() => time.now)
    const all: PerClusterOptions = {
      ...{ authority: inner, secrets, record: async () => ever },
      clock: () => time.now,
      apiClock: () => time.now,
      random: randomBytes,
      podsOf: ({ uid }) => pods.get(uid) ?? [head(time.now, 'unknown')],
      leafSeconds: 90 * daySeconds,
      perNamespace: 100,
      onChange: (change, { name }) => changes.push(`${change} ${name}`),
      ...options
    }
    const authority = createPerClusterAuthority(all)
    changesOf.set(authority, all.onChange)
    const issue = (rayCluster: RayClusterReference, lifetimeSeconds = all.leafSeconds) => {
      const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
      return authority.issue({
        publicKey: createPublicKey(key).export({ type: 'spki', format: 'der' }),
        csr: Buffer.from(createCertificateRequest(key)),
        ...{ names, lifetimeSeconds, rayCluster }
      })
    }
    return { authority, secrets, issue, record: all.record, inner, apiClock: all.apiClock }
  }
  const secret = (name: string) => {
    const target = { kind: 'Secret', apiVersion: 'v1', namespace, name }
    return standIn.store.get(target) as Secret | undefined
  }
  const recordOf = (setting: TrustRecord['trust'], past: Partial<Past> = {}) =>
    createRecord({
      ...{ secrets: replica().secrets, setting, clock: () => time.now },
      past: async () => ({ signed: false, foreign: false, ...past })
    })
  return { standIn, replica, recordOf, pods, changes, time, secret }
}

/** Never anything but `perCluster`. */
const ever: TrustRecord = { trust: 'perCluster', since: 0, settled: false }
const changesOf = new WeakMap<object, PerClusterOptions['onChange']>()

/** Of whom a RayCluster has its CA. */
function head(createdAt: number, certificate: ClusterPod['certificate']): ClusterPod {
  return { node: 'head', createdAt, certificate }
}

function cluster(name: string, namespace = 'team'): RayClusterReference {
  return { namespace, name, uid: randomUUID() }
}
const tooMany = { code: 'Exhausted' }

/** Nothing is written before so many are about to: each has read that there is nothing yet. */
function whenAllWrite(standIn: StandIn, count: number) {
  let open = () => {}
  const gate = {
    waiting: 0,
    until: new Promise<void>(resolve => {
      open = resolve
    })
  }
  standIn.interfere(({ method }) => {
    if (method !== 'POST') return undefined
    gate.waiting += 1
    if (gate.waiting === count) open()
    return { until: gate.until }
  })
  return gate
}

t.test('attack 52, 70: clusters below one CA do not accept each other', async t => {
  const { replica, changes, time } = await stage(t)
  const { issue, inner } = replica()
  const [a, b] = [cluster('a'), cluster('b')]
  const [first, second, other] = [await issue(a), await issue(a), await issue(b)]
  t.equal(first.trustAnchors, second.trustAnchors, 'one CA for all pods of a cluster')
  t.equal(first.trustAnchors.match(/BEGIN/g)?.length, 1, 'it is the only anchor')
  t.ok(accepts(first.trustAnchors, second.certificate, time.now), 'they accept each other')
  t.notOk(accepts(first.trustAnchors, other.certificate, time.now), 'attack: a pod of B at A')
  t.notOk(
    accepts(first.trustAnchors, other.certificate, time.now, other.trustAnchors),
    'attack: and shows the CA of B, signed by the same root'
  )
  const byRoot = await inner.issue({
    ...{ names, lifetimeSeconds: 3600, rayCluster: a, csr: Buffer.alloc(0) },
    publicKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      type: 'spki',
      format: 'der'
    })
  })
  t.notOk(
    accepts(first.trustAnchors, byRoot.certificate, time.now),
    'attack 71: what the root itself signs'
  )
  t.strictSame(changes, ['made a', 'made b'], 'each was made once')
})

t.test('of replicas that race one wins, and all use what it made', async t => {
  const { replica, changes, standIn } = await stage(t)
  const replicas = Array.from({ length: 4 }, () => replica())
  const shared = cluster('shared')
  const writes = whenAllWrite(standIn, replicas.length)
  const issued = await Promise.all(
    replicas.flatMap(({ issue }) => [issue(shared), issue(shared), issue(shared)])
  )
  t.equal(writes.waiting, replicas.length, 'each replica has tried once')
  t.equal(new Set(issued.map(({ trustAnchors }) => trustAnchors)).size, 1, 'one CA')
  t.strictSame(changes, ['made shared'], 'one has won')
  standIn.interfere(undefined)

  const many = Array.from({ length: 20 }, (_, index) => cluster(`many-${index}`))
  const anchors = await Promise.all(
    many.map(async each => {
      const found = await Promise.all(replicas.map(({ issue }) => issue(each)))
      return new Set(found.map(({ trustAnchors }) => trustAnchors)).size
    })
  )
  t.ok(
    anchors.every(count => count === 1),
    'twenty clusters at once, in four replicas'
  )
})

t.test(
  'a replica that ends between the Secret and the first certificate loses nothing',
  async t => {
    const { replica, secret } = await stage(t)
    const one = cluster('one')
    const ends = replica()
    const before = (await ends.issue(one)).trustAnchors
    const entry = entryIn(secret(secretOf(one.namespace))?.data ?? {}, one.uid)
    t.match(entry, { trust: 'perCluster', certificate: before, namespace: 'team' }, 'it is kept')
    t.equal((await replica().issue(one)).trustAnchors, before, 'another replica goes on with it')
  }
)

t.test('renewed with the same key, a running cluster stays whole', async t => {
  const { replica, changes, time } = await stage(t)
  const one = cluster('one')
  const [first, second] = [replica(), replica()]
  const former = await first.issue(one)
  await second.issue(one)
  const upkeep = upkeepOf(first)
  await upkeep.look()
  t.strictSame(changes, ['made one'], 'nothing is due')
  time.now += 150 * dayMs
  const late = await second.issue(one)
  time.now += 50 * dayMs
  await upkeep.look()
  await upkeepOf(second).look()
  t.strictSame(changes, ['made one', 'renewed one'], 'once, whoever looks')
  const renewed = await first.issue(one)
  const seen = await second.issue(one)
  t.not(renewed.trustAnchors, former.trustAnchors, 'another certificate')
  t.equal(seen.trustAnchors, renewed.trustAnchors, 'in every replica')
  t.equal(renewed.notAfter.getTime() - time.now, 90 * dayMs, 'new pods live as long as they may')
  t.ok(accepts(former.trustAnchors, renewed.certificate, time.now), 'an old pod accepts a new one')
  t.ok(accepts(renewed.trustAnchors, late.certificate, time.now), 'and the other way round')
})

t.test(
  'attack 49: where the CA itself ends, nothing is renewed in vain or outlives it',
  async t => {
    const { replica, changes, time, standIn } = await stage(t)
    makeCa(workshop, 'short', { days: 100 })
    const chain = usableChain(workshop.read('short.crt'), { now: new Date(time.now) })
    const key = openPemKey(workshop.read('short.key'))
    const issuer = createLocalIssuer('pem', chain, key, {
      clock: () => time.now,
      random: randomBytes
    })
    const one = cluster('one')
    const ends = replica({ authority: { ...issuer, namesFrom: 'server', close: async () => {} } })
    const issued = await ends.issue(one)
    t.ok(issued.notAfter <= chain.notAfter, 'within the CA')
    time.now += 50 * dayMs
    await upkeepOf(ends).look()
    t.strictSame(changes, ['made one'], 'there is nothing to win')
    t.equal(
      (await ends.issue(one)).notAfter.getTime(),
      chain.notAfter.getTime(),
      'cut short, as told'
    )
    time.now = chain.notAfter.getTime() - 1_800_000
    const writes = () => standIn.requests.filter(each => /^(PUT|POST)/.test(each)).length
    const before = writes()
    for (const _ of [1, 2, 3]) await ends.issue(one).catch(() => {})
    t.equal(writes(), before, 'in its last hour nothing is written')
    t.strictSame(changes, ['made one'], 'nor told')
  }
)

t.test(
  'a CA whose life the authority shortens is renewed as that is worth, no oftener',
  async t => {
    const { replica, changes, time } = await stage(t)
    const whole = external(() => time.now)
    const { intermediates: signer } = whole
    if (signer === undefined) throw new Error('it signs CAs')
    const issue = (request: IntermediateRequest) =>
      signer.issue({ ...request, lifetimeSeconds: 80 * daySeconds })
    const one = cluster('one')
    const shortened = replica({ authority: { ...whole, intermediates: { ...signer, issue } } })
    await shortened.issue(one)
    const { look } = upkeepOf(shortened)
    const looked = async (days: number) => {
      time.now += days * dayMs
      await look()
      await look()
      return changes.length
    }
    t.equal(await looked(0), 1, 'it is short from its first day, and stays as it is')
    t.equal(await looked(9), 1, 'as long as less than an eighth is to be won')
    t.equal(await looked(2), 2, 'then it is renewed, once')
    t.equal(await looked(9), 2, 'and again not')
    t.equal(await looked(2), 3, 'before there is as much to be won again')
    t.equal(whole.made, 3, 'the authority was asked for nothing else')
    const { notAfter } = await shortened.issue(one)
    t.equal(notAfter.getTime() - time.now, 80 * dayMs, 'new pods have all that there is')
  }
)

t.test(
  'a Secret that is deleted or damaged comes back from a replica, or is asked for',
  async t => {
    const { replica, changes, secret, standIn, pods } = await stage(t)
    const one = cluster('one')
    const knows = replica()
    const anchor = (await knows.issue(one)).trustAnchors
    pods.set(one.uid, [head(Date.now(), 'held')])
    const name = secretOf(one.namespace)
    const whole = secret(name) as Secret

    standIn.remove(whole)
    const stranger = replica()
    await t.rejects(
      stranger.issue(one),
      { code: 'Invalid', message: /backup/ },
      'deleted: no second CA while pods trust the first'
    )
    await upkeepOf(knows).look()
    t.strictSame(changes.slice(1), ['restored one'], 'who has it in use brings it back')
    t.equal((await stranger.issue(one)).trustAnchors, anchor, 'and all go on')

    const damaged = {
      ...whole,
      data: { ...whole.data, [one.uid]: Buffer.from('{').toString('base64') }
    }
    standIn.put({ ...damaged, metadata: { name, namespace } })
    await t.rejects(replica().issue(one), { code: 'Invalid', message: /cannot be read/ }, 'damaged')
    await upkeepOf(knows).look()
    t.equal((await replica().issue(one)).trustAnchors, anchor, 'brought back too')

    standIn.put({ ...whole, data: {}, metadata: { name, namespace } })
    await upkeepOf(knows).look()
    await t.rejects(
      knows.issue(one),
      { code: 'Invalid', message: /trust a CA/ },
      'taken out by a person'
    )
    pods.delete(one.uid)
    t.not((await knows.issue(one)).trustAnchors, anchor, 'without pods it begins anew')
  }
)

t.test('attack: the CA of one RayCluster in the place of another is not used', async t => {
  const { replica, secret, standIn } = await stage(t)
  const [mine, victim] = [cluster('mine'), cluster('victim')]
  const { issue } = replica()
  await issue(mine)
  await issue(victim)
  const stolen = secret(secretOf(mine.namespace))?.data?.[mine.uid] ?? ''
  const place = secret(secretOf(victim.namespace)) as Secret
  standIn.put({ ...place, data: { ...place.data, [victim.uid]: stolen } })
  await t.rejects(replica().issue(victim), { code: 'Invalid' }, 'its name is that of another')
})

t.test('attack 76: forged RayClusters do not mint CAs without end', async t => {
  const { replica, changes, time } = await stage(t)
  const flood = replica({ perNamespace: 3 })
  for (let made = 0; made < 3; made += 1) await flood.issue(cluster(`c${made}`))
  await t.rejects(flood.issue(cluster('c3')), tooMany, 'the fourth of its namespace')
  t.ok(await flood.issue(cluster('c', 'other')), 'another namespace has its own')
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

t.test('a namespace that is gone is not told as a race', async t => {
  const { replica, standIn } = await stage(t)
  standIn.interfere(({ method }) => (method === 'POST' ? { status: 404 } : undefined))
  await t.rejects(replica().issue(cluster('one')), { code: 'Unavailable' }, 'the pod comes again')
  t.equal(standIn.requests.filter(each => each.startsWith('POST')).length, 1, 'tried once')
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

t.test('what lives is not taken away', async t => {
  const { replica, secret, time, changes } = await stage(t)
  const one = cluster('one')
  const keeps = replica()
  await keeps.issue(one)
  let exists = false
  let runs = false
  const upkeep = upkeepOf(keeps, {
    exists: async () => exists,
    runs: () => runs,
    clock: () => time.now
  })
  const later = async () => {
    time.now += 6 * 60_000
    await upkeep.look()
    return entryIn(secret(secretOf(one.namespace))?.data ?? {}, one.uid) !== undefined
  }
  t.ok(await later(), 'an API server that forgets everything for a moment')
  exists = true
  t.ok(await later(), 'and knows again')
  exists = false
  t.ok(await later(), 'the time begins anew')
  runs = true
  t.ok(await later(), 'pods run on')
  runs = false
  t.ok(await later(), 'not at once')
  t.ok(await later(), 'not soon')
  t.notOk(await later(), 'after ten minutes')
  t.strictSame(changes, ['made one', 'removed one'], 'told')
})

t.test('a key is sealed where the authority can, and opens for its RayCluster alone', async t => {
  const { replica, secret, time, changes } = await stage(t)
  const one = cluster('one')
  const plain = await replica().issue(one)
  const stored = () => secret(secretOf(one.namespace))?.data?.[one.uid] ?? ''
  const text = () => Buffer.from(stored(), 'base64').toString('utf8')
  t.match(text(), /"plain"/, 'before')
  const protection: KeyProtection = {
    kind: 'test',
    seal: async (bytes, context) =>
      Buffer.from([context, Buffer.from(bytes).toString('hex'), randomUUID()].join('|')),
    async open(sealed, context) {
      const [bound, hex = ''] = Buffer.from(sealed).toString().split('|')
      if (bound !== context) throw new AuthorityError('Refused', 'another context')
      return Buffer.from(hex, 'hex')
    }
  }
  const seals = replica({ authority: external(() => time.now, { protection }) })
  t.equal(
    (await seals.issue(one)).trustAnchors,
    plain.trustAnchors,
    'what was not sealed serves on'
  )
  await upkeepOf(seals).look()
  t.notMatch(text(), /"plain"/, 'and is sealed at the next occasion')
  t.strictSame(changes, ['made one', 'sealed one'], 'which is told')
  const before = text()
  const anew = { ...protection, isCurrent: () => text() !== before }
  const other = replica({ authority: external(() => time.now, { protection: anew }) })
  await upkeepOf(other).look()
  await upkeepOf(other).look()
  t.strictSame(changes.slice(2), ['sealed one'], 'by another key once more, and once')
  const again = replica({ authority: external(() => time.now, { protection }) })
  t.equal((await again.issue(one)).trustAnchors, plain.trustAnchors, 'with the same CA')
  await t.rejects(
    replica().issue(one),
    { code: 'Unavailable' },
    'attack: a stolen Secret without the authority'
  )
})

t.test('a CA that cannot is told apart from one that is away', async t => {
  const { replica } = await stage(t)
  const { intermediates: _, ...none } = external(Date.now)
  await t.rejects(replica({ authority: none }).issue(cluster('a')), { code: 'Invalid' }, 'never')
  const away = { ...none, problem: () => 'is not there yet' }
  await t.rejects(
    replica({ authority: away }).issue(cluster('a')),
    { code: 'Unavailable' },
    'again'
  )
  const blind = replica({ podsOf: () => undefined })
  await t.rejects(blind.issue(cluster('a')), { code: 'Unavailable' }, 'pods are not known yet')
  const { replica: broken, standIn } = await stage(t)
  standIn.interfere(({ path }) => (path.includes('/secrets') ? { status: 403 } : undefined))
  await t.rejects(broken().issue(cluster('a')), { code: 'Unavailable' }, 'no right to the Secrets')
  await t.rejects(broken().issue({ ...cluster('a'), uid: '../x' }), { code: 'Invalid' }, 'no UID')
})

t.test('a change of the setting reaches a cluster when none of its pods is left', async t => {
  const { replica, pods, time, changes } = await stage(t)
  const root = workshop.read('root.crt')
  const since = time.now
  const old = cluster('old')
  pods.set(old.uid, [head(since - dayMs, 'held')])
  const record = async () => ({ ...ever, since })
  const now = replica({ record })
  time.now += dayMs
  t.equal((await now.issue(old)).trustAnchors, root, 'a new pod joins its cluster')
  t.equal((await replica({ record }).issue(old)).trustAnchors, root, 'in every replica')
  // its first pods are replaced one by one: those of now hold the shared CA too
  time.now += dayMs
  pods.set(old.uid, [head(since + dayMs, 'held')])
  t.equal((await now.issue(old)).trustAnchors, root, 'as long as any holds it')
  pods.delete(old.uid)
  t.equal((await now.issue(old)).trustAnchors, root, 'what was signed a moment ago counts')
  pods.set(old.uid, [head(time.now, 'unknown')])
  time.now += 120_000
  t.equal((await now.issue(old)).trustAnchors, root, 'also in a pod that has not said so yet')
  time.now += 120_000
  pods.set(old.uid, [head(time.now, 'unknown')])
  const anew = await now.issue(old)
  t.not(anew.trustAnchors, root, 'all made anew: a CA of its own')
  t.not((await now.issue(cluster('new'))).trustAnchors, root, 'as every new cluster')

  // and back
  time.now += dayMs
  const changed = { trust: 'shared' as const, since: time.now, settled: false }
  const back = replica({ record: async () => changed })
  const early = await back.issue(old)
  t.equal(early.trustAnchors, anew.trustAnchors, 'others may sign by the former setting still')
  time.now += settlingMs
  pods.set(old.uid, [head(time.now - 1, 'held')])
  t.equal(
    (await back.issue(old)).trustAnchors,
    anew.trustAnchors,
    'shared: a new pod joins its cluster'
  )
  pods.set(old.uid, [head(time.now, 'unknown')])
  time.now += 120_000
  t.equal(
    (await back.issue(old)).trustAnchors,
    anew.trustAnchors,
    'what was there when it was signed the last time counts'
  )
  pods.delete(old.uid)
  time.now += 120_000
  t.equal((await back.issue(old)).trustAnchors, root, 'then the shared CA')
  t.equal((await back.issue(cluster('more'))).trustAnchors, root, 'as every new cluster')
  t.match(changes, ['made old', 'made new', 'removed old'], 'told')
})

t.test('the CA outside is replaced while a change of the setting is under way', async t => {
  const { replica, pods, time } = await stage(t)
  makeCa(workshop, 'next', { days: 3650 })
  const record = async () => ({ ...ever, since: time.now - dayMs })
  const [own, written, silent] = [cluster('own'), cluster('written'), cluster('silent')]
  for (const each of [written, silent]) pods.set(each.uid, [head(time.now - 2 * dayMs, 'held')])
  const former = replica({ record })
  const anchor = (await former.issue(own)).trustAnchors
  t.equal((await former.issue(written)).trustAnchors, workshop.read('root.crt'), 'still shared')

  const next = replica({ record, authority: external(() => time.now, {}, 'next') })
  for (const each of [written, silent]) pods.set(each.uid, [head(time.now - 2 * dayMs, 'foreign')])
  t.equal((await next.issue(own)).trustAnchors, anchor, 'a CA of its own goes on')
  t.equal(
    (await next.issue(written)).trustAnchors,
    workshop.read('next.crt'),
    'on shared the new CA signs, as with shared itself'
  )
  await t.rejects(next.issue(silent), { code: 'Invalid' }, 'or it is refused')
  for (const each of [written, silent]) pods.set(each.uid, [head(time.now + 120_000, 'unknown')])
  time.now += 120_000
  for (const each of [written, silent]) {
    const issued = await next.issue(each)
    t.ok(
      accepts(workshop.read('next.crt'), issued.trustAnchors, time.now),
      'made anew: by the next'
    )
  }
})

t.test('what holds is written down, and every replica works by it', async t => {
  const { secret, time, recordOf } = await stage(t)
  const written = () => recordIn(secret(recordSecret)?.data ?? {})
  const first = recordOf('perCluster')
  t.match(await first.current(), { trust: 'perCluster', since: 0 }, 'nothing is from before')
  const enters = recordOf('shared')
  t.match(await enters.current(), { trust: 'shared', since: time.now, settled: false }, 'changed')
  const since = time.now
  t.match(await first.current(), { since: 0 }, 'who read a moment ago does not ask again')
  time.now += freshMs + 1
  t.match(await first.current(), { trust: 'shared', since }, 'then works by what the other wrote')
  time.now = since + settlingMs
  t.match(await enters.current(), { trust: 'shared', since }, 'whose setting it is looks on')
  t.match(
    await first.current(),
    { trust: 'perCluster', since: time.now },
    'the other holds against'
  )
  time.now += freshMs + 1
  t.match(await enters.current(), written(), 'and one word stands')
  t.match(await recordOf('perCluster').current(), written(), 'who starts alike changes nothing')
  time.now += 1000
  const anew = await recordOf('shared').current()
  t.match(anew, { trust: 'shared', since: time.now }, 'who starts unlike does so at once')
})

t.test('the first record says what may have been before it', async t => {
  for (const [what, setting, past, left, expected] of [
    ['a first installation', 'perCluster', {}, false, { since: 0 }],
    ['a replica that leaves no record', 'perCluster', { signed: true }, false, { since: 'now' }],
    ['the record was lost', 'perCluster', {}, true, { since: 'now' }],
    ['all was lost', 'perCluster', { signed: true, foreign: true }, false, { since: 'now' }],
    ['shared from the start', 'shared', {}, false, { settled: true }],
    ['so for long', 'shared', { signed: true }, false, { settled: true }],
    ['shared, and the record was lost', 'shared', {}, true, { settled: false }],
    ['shared, and all was lost', 'shared', { foreign: true }, false, { settled: false }]
  ] as [string, TrustRecord['trust'], Partial<Past>, boolean, { since?: unknown }][]) {
    const { time, recordOf, replica } = await stage(t)
    if (left) await replica().issue(cluster('left'))
    const found = await recordOf(setting, past).current()
    const wanted = expected.since === 'now' ? { since: time.now } : expected
    t.match(found, { trust: setting, ...wanted }, what)
    const unlike = setting === 'shared' ? 'perCluster' : 'shared'
    time.now += 1
    const next = await recordOf(unlike).current()
    t.equal(next.since, time.now, 'whoever comes second knows that there was something')
  }
})

t.test('who may not look does not sign', async t => {
  const { standIn, recordOf, replica } = await stage(t)
  standIn.interfere(({ path }) => (path.includes('/secrets') ? { status: 403 } : undefined))
  const record = recordOf('shared')
  const denied = replica({ record: record.current })
  await t.rejects(denied.issue(cluster('a')), { code: 'Unavailable' }, 'the pod comes again')
  standIn.interfere(undefined)
  const root = workshop.read('root.crt')
  t.equal((await denied.issue(cluster('a'))).trustAnchors, root, 'when the right is given')
  const asked = standIn.requests.length
  await Promise.all([1, 2, 3, 4].map(() => denied.issue(cluster('a'))))
  t.equal(standIn.requests.length, asked, 'what was read a moment ago serves all')
})

t.test('shared is settled when no CA is left, and not before all know', async t => {
  const { standIn, secret, time, recordOf, replica } = await stage(t)
  const one = cluster('one')
  await replica().issue(one)
  const whole = secret(secretOf(one.namespace)) as Secret
  const record = recordOf('shared')
  await record.current()
  const works = replica({ record: record.current })
  let foreign = true
  const upkeep = upkeepOf(works, { foreign: () => foreign })
  const settled = async () => {
    await upkeep.look()
    return recordIn(secret(recordSecret)?.data ?? {})?.settled
  }
  const put = (text: string) =>
    standIn.put({ ...whole, data: text ? { [one.uid]: text } : {} } as Secret)
  put('')
  t.notOk(await settled(), 'others may make one yet')
  await works.issue(cluster('claimed'))
  time.now += settlingMs
  put(whole.data?.[one.uid] ?? '')
  t.notOk(await settled(), 'one is there')
  put(Buffer.from('{').toString('base64'))
  t.notOk(await settled(), 'what cannot be read may be one')
  put('')
  t.notOk(await settled(), 'pods trust one that is lost')
  foreign = false
  t.ok(await settled(), 'nothing is left')
  t.notOk(await works.secrets.hold(), 'not of those on the shared CA either')
  time.now += freshMs + 1
  const asked = standIn.requests.length
  await works.issue(one)
  t.strictSame(
    standIn.requests.slice(asked),
    [`GET /api/v1/namespaces/${namespace}/secrets/${recordSecret}`],
    'from now on nobody looks there'
  )
})

t.test('the standing of a cluster, case by case', async t => {
  const at = 1_000 * dayMs
  const entry = { namespace: 'team', name: 'one', uid: 'u', usedAt: 0 }
  const ca = { ...entry, trust: 'perCluster' as const, certificate: '', key: { plain: '' } }
  const claim = { ...entry, trust: 'shared' as const }
  const held = (createdAt: number) => head(createdAt, 'held')
  const unknown = (createdAt: number) => head(createdAt, 'unknown')
  const none = (createdAt: number) => head(createdAt, 'none')
  const foreign = head(at, 'foreign')
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

function upkeepOf(
  {
    authority,
    secrets,
    record,
    apiClock
  }: Pick<
    ReturnType<Awaited<ReturnType<typeof stage>>['replica']>,
    'authority' | 'secrets' | 'record' | 'apiClock'
  >,
  changes: Partial<Parameters<typeof createUpkeep>[0]> = {}
) {
  return createUpkeep({
    ...{ authority, secrets, record, apiClock },
    exists: async () => true,
    runs: () => false,
    foreign: () => false,
    clock: () => performance.now(),
    everyMs: 60_000,
    onChange: changesOf.get(authority) ?? (() => {}),
    onFault(error) {
      throw error
    },
    ...changes
  })
}
