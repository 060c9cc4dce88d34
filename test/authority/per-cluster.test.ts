/** A CA for each RayCluster: who is let in below it, whoever makes it, and where it cannot be made or used. */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { KeyProtection } from '../../src/authority/authority.ts'
import { AuthorityError } from '../../src/authority/authority.ts'
import { entryIn, secretOf } from '../../src/authority/per-cluster/entries.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import {
  cluster,
  names,
  openPerCluster,
  upkeepOf,
  whenAllWrite
} from '../support/per-cluster-stage.ts'

const { accepts, external, stage } = openPerCluster(t)

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
    publicKey: makeKeyPairSync().publicKey.export({
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
  const another: KeyProtection = { ...protection, kind: 'another', isCurrent: () => false }
  const stranger = replica({ authority: external(() => time.now, { protection: another }) })
  const untouched = stored()
  await t.rejects(stranger.issue(one), { code: 'Unavailable' }, 'by one of another kind')
  await upkeepOf(stranger).look()
  t.equal(stored(), untouched, 'which does not seal it again either')
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

t.test('a namespace that is gone is not told as a race', async t => {
  const { replica, standIn } = await stage(t)
  standIn.interfere(({ method }) => (method === 'POST' ? { status: 404 } : undefined))
  await t.rejects(replica().issue(cluster('one')), { code: 'Unavailable' }, 'the pod comes again')
  t.equal(standIn.requests.filter(each => each.startsWith('POST')).length, 1, 'tried once')
})
