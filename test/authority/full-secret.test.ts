/** A Secret that holds as many RayClusters as it can: those that run go on, there is no place for another. */
import { randomBytes, randomUUID } from 'node:crypto'
import t from 'tap'
import { type OwnCa, ownCasIn, secretOf } from '../../src/authority/per-cluster/entries.ts'
import type { TrustSetting } from '../../src/authority/per-cluster/record.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import { cluster, dayMs, head, openPerCluster, upkeepOf } from '../support/per-cluster-stage.ts'
import { makeCa } from '../x509/openssl.ts'

const { workshop, external, stage } = openPerCluster(t)
const fullBytes = 1000 * 1024
/** What an entry is counted as, at least. */
const grownBytes = 2000

t.test('attack 76: a full Secret takes nothing new, and what runs is renewed', async t => {
  const { replica, secret, standIn, time, changes } = await stage(t)
  const one = cluster('one')
  const name = secretOf(one.namespace)
  const { issue } = replica()
  await issue(one)
  const sizeOf = (data: Record<string, string>) =>
    Object.entries(data).reduce(
      (sum, [key, text]) => sum + Math.max(grownBytes, bytesOf(key, text)),
      0
    )
  const data = () => secret(name)?.data ?? {}
  const fill = (bytes: number) => {
    const found = secret(name)
    if (found === undefined) throw new Error('it is there')
    const { others: _, ...rest } = data()
    const missing = bytes - sizeOf(rest) - 'others'.length
    const others = randomBytes(missing).toString('base64')
    standIn.put({ ...found, data: { ...rest, others } })
  }
  const full = { code: 'Exhausted', message: /Delete RayClusters/ }

  fill(fullBytes - 4096)
  const two = cluster('two')
  t.ok(await issue(two), 'there is place for one')
  fill(fullBytes - 100)
  const three = cluster('three')
  await t.rejects(issue(three), full, 'and for no other')
  await t.rejects(replica().issue(three), full, 'in any replica')
  t.ok(await issue(cluster('four', elsewhere(name))), 'other namespaces have other Secrets')
  t.ok(await replica().issue(one), 'who has one is served')

  time.now += 200 * dayMs
  const grows = external(() => time.now, {
    protection: { kind: 'test', seal: async plain => Buffer.alloc(2048, plain), open: fails }
  })
  const upkeep = upkeepOf(replica({ authority: grows }))
  await upkeep.look()
  t.ok(sizeOf(data()) > fullBytes, 'what is renewed and sealed may grow beyond')
  t.strictSame(upkeep.due(), { unsealed: 0, formerSeal: 0, renewal: 0 }, 'all of it')
  t.equal(changes.filter(change => change.startsWith('renewed')).length, 3, 'all are renewed')
  await t.rejects(replica().issue(three), full, 'which leaves no more for a new one')
  t.strictSame(ownCasIn(data(), one.namespace).sort(), [one.uid, two.uid].sort(), 'none is lost')

  const gone = upkeepOf(replica({ authority: grows }), {
    exists: async ({ uid }) => uid !== two.uid,
    clock: () => time.now
  })
  fill(fullBytes - 100)
  await gone.look()
  time.now += 11 * 60_000
  await gone.look()
  t.ok(await replica().issue(three), 'where one has gone, there is place again')
})

t.test('RayClusters that are written down without a CA take the place that they need', async t => {
  const { replica, secret, standIn, pods, time } = await stage(t)
  let trust: TrustSetting = 'shared'
  let since = time.now
  const record = async () => ({ trust, since, settled: false })
  const { issue } = replica({ record })
  const one = cluster('one')
  await issue(one)
  const name = secretOf(one.namespace)
  const found = secret(name)
  const [claim = ''] = Object.values(found?.data ?? {})
  const claims = Array.from({ length: 600 }, () => [randomUUID(), claim])
  standIn.put({ ...found, data: { ...found?.data, ...Object.fromEntries(claims) } } as Secret)
  t.ok(await issue(cluster('two')), 'there is place for one more than for CAs')

  await t.test('and that of a CA when they get one', async t => {
    const cas = Array.from({ length: 499 }, () => [randomUUID(), 'A'.repeat(2000)])
    const { data } = secret(name) ?? {}
    standIn.put({ ...secret(name), data: { ...data, ...Object.fromEntries(cas) } } as Secret)
    time.now += dayMs
    ;[trust, since] = ['perCluster', time.now - dayMs / 2]
    pods.set(one.uid, [head(time.now, 'unknown')])
    await t.rejects(replica({ record }).issue(one), { code: 'Exhausted' }, 'or there is none')
  })
})

t.test('what an entry is counted as is what it may grow to', async t => {
  const { replica, secret, time } = await stage(t)
  // As long as names are, in a Secret of their own.
  const long = { ...cluster('c'.repeat(63)), namespace: 'n'.repeat(63) }
  const entry = () => {
    const [found] = Object.entries(secret(secretOf(long.namespace))?.data ?? {})
    if (found === undefined) throw new Error('it is there')
    return bytesOf(...found)
  }
  await replica().issue(long)
  const before = entry()
  makeCa(workshop, 'large', { kind: 'RSA-4096', days: 3650 })
  // A transit ciphertext: text in base64 with a name and a version before it.
  const seal = async (plain: Uint8Array) =>
    Buffer.from(`vault:v999:${Buffer.alloc(plain.length + 28).toString('base64')}`)
  const protection = { kind: 'vault-transit', seal, open: fails }
  time.now += 200 * dayMs
  const authority = external(() => time.now, { protection }, 'large')
  const alsoTrusted = () => workshop.read('root.crt')
  const upkeep = upkeepOf(replica({ authority, alsoTrusted }))
  await upkeep.look()
  t.strictSame(upkeep.due(), { unsealed: 0, formerSeal: 0, renewal: 0 }, 'renewed and sealed')
  t.ok(entry() > before + 600, `it has grown: ${before} to ${entry()}`)
  t.ok(entry() <= grownBytes, 'and not beyond')
})

function bytesOf(key: string, text: string): number {
  return key.length + Buffer.from(text, 'base64').length
}

async function fails(): Promise<never> {
  throw new Error('nobody asks for it')
}

/** A namespace whose CAs stand in another Secret. */
function elsewhere(name: string): OwnCa['namespace'] {
  const found = ['a', 'b', 'c', 'd'].find(each => secretOf(each) !== name)
  if (found === undefined) throw new Error('all in one')
  return found
}
