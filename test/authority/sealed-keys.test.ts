/** A CA that nobody has sealed, where those of all RayClusters are sealed. */
import { createHmac, randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Authority, AuthorityError } from '../../src/authority/authority.ts'
import { openPatiently } from '../../src/authority/patient.ts'
import {
  entryIn,
  type OwnCa,
  secretOf,
  withEntry
} from '../../src/authority/per-cluster/entries.ts'
import { openSealing } from '../../src/authority/pkcs11/sealing.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import { forgedOwnCa, leafExtensions } from '../support/forged-own-ca.ts'
import {
  cluster,
  dayMs,
  namespace,
  openPerCluster,
  upkeepOf
} from '../support/per-cluster-stage.ts'
import { makeCa } from '../x509/openssl.ts'

const { external, stage, workshop } = openPerCluster(t)
makeCa(workshop, 'former')

/** As by a token, whose key is here. */
const tokenKey = randomBytes(32)
const protection = await openSealing({
  key: { sign: async (_, bytes) => createHmac('sha256', tokenKey).update(bytes).digest() },
  hasFormer: false,
  random: randomBytes
})

const refused = { code: 'Invalid', message: /alsoTrustedFile/ }

async function sealing(t: Test) {
  const staged = await stage(t)
  const { standIn, secret, time } = staged
  const replica = (options: { authority?: Authority; alsoTrusted?: () => string } = {}) =>
    staged.replica({ authority: external(() => time.now, { protection }), ...options })
  const stored = ({ namespace, uid }: Pick<OwnCa, 'namespace' | 'uid'>) =>
    entryIn(secret(secretOf(namespace))?.data ?? {}, uid) as OwnCa
  const put = (entry: OwnCa) => {
    const name = secretOf(entry.namespace)
    const { metadata = { name, namespace }, data } = secret(name) ?? {}
    standIn.put({
      ...{ apiVersion: 'v1', kind: 'Secret', metadata },
      data: withEntry(data ?? {}, entry)
    } as Secret)
  }
  /** One round of a replica that has just begun. */
  const look = async (options: Parameters<typeof replica>[0] = {}) => {
    const looks = replica(options)
    const faults: unknown[] = []
    const upkeep = upkeepOf(looks, { onFault: error => void faults.push(error) })
    await upkeep.look()
    return { faults, signed: looks.inner.made, due: upkeep.due() }
  }
  return { ...staged, unsealed: staged.replica, replica, stored, put, look }
}

t.test('attack 97: a CA of somebody else is not used, nor sealed, nor signed', async t => {
  const { replica, stored, put, look, changes, time } = await sealing(t)
  const one = cluster('one')
  const forgeries = [
    forgedOwnCa(workshop, one),
    forgedOwnCa(workshop, one, 'former'),
    // The very CA that signs, asked for a leaf.
    forgedOwnCa(workshop, one, 'root', leafExtensions)
  ]
  for (const forged of forgeries) {
    put(forged)
    await t.rejects(replica().issue(one), refused, 'no pod gets to trust it')
    const { faults, signed, due } = await look()
    t.match(faults, [refused], 'it is told')
    t.match(due, { unsealed: 1 }, 'and counted')
    t.equal(signed, 0, 'the authority is not asked')
    t.strictSame(stored(one), forged, 'what stands there is left as it is')
  }

  const two = cluster('two', 'other')
  await replica().issue(two)
  const began = time.now
  // The certificate of a running cluster is public.
  const beside = { ...forgedOwnCa(workshop, two), certificate: stored(two).certificate }
  put(beside)
  for (const days of [0, 200]) {
    time.now = began + days * dayMs
    await t.rejects(replica().issue(two), refused, `day ${days}: another key beside it`)
    const { faults, signed } = await look()
    t.match(faults, [refused, refused], 'told')
    t.equal(signed, 0, 'nor is that key signed')
    t.strictSame(stored(two), beside, 'nor sealed')
  }
  t.strictSame(changes, ['made two'], 'nothing else was done')
})

t.test('attack 97: nor is it used in the place of another, once it was good', async t => {
  const { replica, stored, put, look, time, unsealed } = await sealing(t)
  const [known, victim] = [cluster('known'), cluster('victim')]
  // From a backup of before they were sealed.
  await unsealed().issue(known)
  put({ ...stored(known), ...victim })
  for (const days of [0, 200]) {
    time.now += days * dayMs
    await t.rejects(replica().issue(victim), refused, `day ${days}`)
    await look()
    t.match(stored(victim).key, { plain: String }, 'nor sealed')
  }
})

t.test('what another authority has signed goes on while its CA is named', async t => {
  const { replica, stored, look, time, changes, unsealed } = await sealing(t)
  const one = cluster('one')
  const before = unsealed({ authority: external(() => time.now, {}, 'former') })
  const { trustAnchors } = await before.issue(one)
  await t.rejects(replica().issue(one), refused, 'it has to be named')
  const alsoTrusted = () => workshop.read('former.crt')
  t.equal((await replica({ alsoTrusted }).issue(one)).trustAnchors, trustAnchors, 'then it serves')
  await look({ alsoTrusted })
  t.match(stored(one).key, { sealedBy: 'pkcs11' }, 'and is sealed')
  t.equal((await replica().issue(one)).trustAnchors, trustAnchors, 'and needs no name any more')
  t.strictSame(changes, ['made one', 'sealed one'], 'told')
})

t.test('attack 97: a token that is away is no way round', async t => {
  const { replica, put, look, time, unsealed } = await sealing(t)
  const [one, two] = [cluster('one'), cluster('two')]
  await unsealed().issue(one)
  put(forgedOwnCa(workshop, two))
  let away = true
  let told = () => {}
  const again = new Promise<void>(resolve => {
    told = resolve
  })
  const authority = await openPatiently({
    async open() {
      if (away) throw new AuthorityError('Unavailable', 'away')
      told()
      return external(() => time.now, { protection })
    },
    ...{ kind: 'pkcs11', namesFrom: 'server', protectionKind: 'pkcs11', retryMs: 5 },
    onFault() {}
  })
  t.teardown(() => authority.close())
  const waits = replica({ authority })
  for (const each of [one, two]) {
    await t.rejects(waits.issue(each), { code: 'Unavailable' }, 'nobody can tell which are ours')
  }
  const { faults } = await look({ authority })
  t.match(faults, [{ code: 'Unavailable' }, { code: 'Unavailable' }], 'told')
  away = false
  await again
  await new Promise(setImmediate)
  t.ok(await waits.issue(one), 'when it is back, ours are')
  await t.rejects(waits.issue(two), refused, 'and the other is not')
})

t.test('a lost Secret gets back what stood in it last', async t => {
  const { unsealed, replica, stored, secret, standIn, time } = await sealing(t)
  const [one, other] = [cluster('one'), cluster('other')]
  await unsealed({ authority: external(() => time.now) }).issue(one)
  const serves = replica()
  const anchor = (await serves.issue(one)).trustAnchors
  const upkeep = upkeepOf(serves)
  await upkeepOf(replica()).look()
  t.match(stored(one).key, { sealedBy: protection.kind }, 'another replica has sealed it')
  await upkeep.look()
  standIn.remove(secret(secretOf(one.namespace)) as Secret)
  await upkeep.look()
  t.match(stored(one).key, { sealedBy: protection.kind }, 'and sealed it comes back')
  t.equal((await replica().issue(one)).trustAnchors, anchor)

  await unsealed({ authority: external(() => time.now) }).issue(other)
  await serves.issue(other)
  await upkeep.look()
  standIn.remove(secret(secretOf(other.namespace)) as Secret)
  await upkeep.look()
  t.match(stored(other).key, { sealedBy: protection.kind }, 'also what it has sealed itself')
})

t.test('attack 97: what is put in the place of a CA in use is not brought back', async t => {
  const { replica, stored, put, secret, standIn } = await sealing(t)
  const one = cluster('one')
  const serves = replica()
  await serves.issue(one)
  const own = stored(one)
  put(forgedOwnCa(workshop, one))
  const upkeep = upkeepOf(serves, { onFault: () => {} })
  await upkeep.look()
  await t.rejects(serves.issue(one), refused, 'nor used')
  standIn.remove(secret(secretOf(one.namespace)) as Secret)
  await upkeep.look()
  t.match(stored(one), { key: own.key, certificate: own.certificate }, 'but the one before it')
})
