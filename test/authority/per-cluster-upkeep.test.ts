/** What becomes of the CA of a RayCluster with time: it is renewed, brought back and taken away. */

import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { IntermediateRequest } from '../../src/authority/authority.ts'
import { createLocalIssuer } from '../../src/authority/local.ts'
import { usableChain } from '../../src/authority/pem-files.ts'
import { openPemKey } from '../../src/authority/pem-key.ts'
import { certificateOf, entryIn, secretOf } from '../../src/authority/per-cluster/entries.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import type { Certificate } from '../../src/x509/certificate.ts'
import { keyIdentifier } from '../../src/x509/leaf.ts'
import { authorityKeySha256 } from '../../src/x509/same-authority.ts'
import {
  cluster,
  dayMs,
  daySeconds,
  ever,
  head,
  namespace,
  openPerCluster,
  upkeepOf
} from '../support/per-cluster-stage.ts'
import { makeCa } from '../x509/openssl.ts'

const { accepts, external, stage, workshop } = openPerCluster(t)

t.test('renewed with the same key, a running cluster stays whole', async t => {
  const { replica, changes, time } = await stage(t)
  const one = cluster('one')
  const [first, second] = [replica(), replica()]
  const former = await first.issue(one)
  await second.issue(one)
  const upkeep = upkeepOf(first)
  await upkeep.look()
  t.strictSame(changes, ['made one'], 'nothing is due')
  const counts = replica()
  await upkeepOf(counts).look()
  t.strictSame([...counts.authority.held.keys()], [one.uid], 'who signs nothing counts it, too')
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
  time.now += 400 * dayMs
  const anew = await first.issue(one)
  t.equal(anew.notAfter.getTime() - time.now, 90 * dayMs, 'one that is over is renewed by a pod')
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
    pods.set(one.uid, [head(Date.now(), 'foreign')])
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

t.test('what another replica has taken away is not known as gone when it comes back', async t => {
  const { replica, secret, standIn, time, changes } = await stage(t)
  const one = cluster('one')
  await replica().issue(one)
  const name = secretOf(one.namespace)
  const whole = secret(name) as Secret
  const upkeep = upkeepOf(replica(), { exists: async () => false, clock: () => time.now })
  await upkeep.look()
  standIn.put({ ...whole, data: {} })
  time.now += 6 * 60_000
  await upkeep.look()
  standIn.put({ ...whole, metadata: { name, namespace } })
  for (const minutes of [6, 6]) {
    time.now += minutes * 60_000
    await upkeep.look()
  }
  t.strictSame(changes, ['made one'], 'such as from a backup: the ten minutes begin anew')
  time.now += 6 * 60_000
  await upkeep.look()
  t.strictSame(changes, ['made one', 'removed one'], 'and end')
})

t.test('a renewal that is lost with its Secret leaves the cluster whole', async t => {
  const { replica, changes, pods, time, secret, standIn } = await stage(t)
  const one = cluster('one')
  const [knows, renews] = [replica(), replica()]
  const former = await knows.issue(one)
  pods.set(one.uid, [head(time.now, 'foreign')])
  time.now += 200 * dayMs
  await renews.issue(one)
  await upkeepOf(renews).look()
  const renewed = await renews.issue(one)
  standIn.remove(secret(secretOf(one.namespace)) as Secret)
  await t.rejects(replica().issue(one), { code: 'Invalid' }, 'who has seen none of it waits')

  await upkeepOf(knows).look()
  await upkeepOf(renews).look()
  const steps = ['made one', 'renewed one', 'restored one', 'renewed one']
  t.strictSame(changes, steps, 'by who looks first, as it knows it; then renewed once more')
  const last = await replica().issue(one)
  for (const { trustAnchors } of [former, renewed]) {
    t.ok(accepts(trustAnchors, last.certificate, time.now), 'its pods accept the next')
  }
  t.ok(accepts(last.trustAnchors, renewed.certificate, time.now), 'and the other way round')
})

t.test('a CA that was released while a round went on does not come back', async t => {
  const { replica, pods, time, secret, standIn } = await stage(t)
  const one = cluster('one')
  let record = ever
  const knows = replica({ record: async () => record })
  await knows.issue(one)
  standIn.remove(secret(secretOf(one.namespace)) as Secret)
  pods.set(one.uid, [head(time.now, 'none')])
  await upkeepOf(knows, {
    async exists() {
      record = { trust: 'shared', since: time.now - 60_000, settled: false }
      return true
    }
  }).look()
  t.equal(secret(secretOf(one.namespace)), undefined, 'nothing is written')
})

t.test('what was released beside a replica does not come back from it', async t => {
  const { replica, pods, time, secret, standIn } = await stage(t)
  const root = workshop.read('root.crt')
  for (const trust of ['perCluster', 'shared'] as const) {
    for (const back of ['by a round', 'by the next pod']) {
      const one = cluster('one')
      let record = ever
      const knows = replica({ record: async () => record })
      await knows.issue(one)
      standIn.remove(secret(secretOf(one.namespace)) as Secret)
      record = { trust, since: time.now - 60_000, settled: false }
      // one has said what it holds, and another, as the one that asks, nothing yet
      pods.set(one.uid, [head(time.now - dayMs, 'held'), head(time.now, 'unknown')])
      if (back === 'by a round') {
        await upkeepOf(knows).look()
        t.equal(secret(secretOf(one.namespace)), undefined, 'nothing is written')
      }
      t.equal((await knows.issue(one)).trustAnchors, root, `${trust}: ${back}`)
    }
  }
})

t.test('a CA in whose place another one has come is not brought back', async t => {
  for (const damaged of [false, true]) {
    for (const back of ['by a round', 'by the next pod']) {
      const { replica, pods, time, secret, standIn } = await stage(t)
      const one = cluster('one')
      const name = secretOf(one.namespace)
      const [stale, other] = [replica(), replica()]
      await stale.issue(one)
      standIn.remove(secret(name) as Secret)
      // its pods are made anew, by another replica that never had the former one
      const present = (await other.issue(one)).trustAnchors
      const anchorKeySha256 = authorityKeySha256(
        certificateOf({ certificate: present }) as Certificate
      )
      pods.set(one.uid, [
        { ...head(time.now, 'foreign'), anchorKeySha256 },
        head(time.now, 'unknown')
      ])
      standIn.remove(secret(name) as Secret)
      if (damaged) {
        const data = { [one.uid]: 'bm9uZQ==' }
        standIn.put({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, data })
      }
      time.now += 16 * 60_000

      if (back === 'by a round') await upkeepOf(stale).look()
      await t.rejects(stale.issue(one), { code: 'Invalid' }, 'nor signed with')
      const found = entryIn(secret(name)?.data ?? {}, one.uid)
      t.equal(found, damaged ? 'damaged' : undefined, `${back}: nothing is written`)

      await (back === 'by a round' ? upkeepOf(other).look() : other.issue(one))
      t.equal(
        (await stale.issue(one)).trustAnchors,
        present,
        'who has the right one brings it back'
      )
    }
  }
})

t.test('a CA whose certificate has another form of its key identifier is the same', async t => {
  const { replica, pods, time, secret, standIn } = await stage(t)
  const one = cluster('one')
  const knows = replica()
  const { trustAnchors } = await knows.issue(one)
  const certificate = certificateOf({ certificate: trustAnchors }) as Certificate
  // as by a signer that has left the identifier out before, or has taken one of its own
  for (const [identifier, stays] of [
    ['none', true],
    [keyIdentifier(certificate.publicKey), true],
    [randomBytes(20), false]
  ] as const) {
    const anchorKeySha256 = authorityKeySha256(certificate, identifier)
    pods.set(one.uid, [{ ...head(time.now, 'foreign'), anchorKeySha256 }])
    standIn.remove(secret(secretOf(one.namespace)) as Secret)
    await upkeepOf(knows).look()
    const found = secret(secretOf(one.namespace))
    t.equal(found !== undefined, stays, 'it is brought back, or is another')
  }
})

t.test('who has not seen a CA for long looks whether it still stands', async t => {
  const { replica, time, secret, standIn } = await stage(t)
  const one = cluster('one')
  const remove = () => standIn.remove(secret(secretOf(one.namespace)) as Secret)
  const [looks, fails] = [replica(), replica()]
  const former = (await looks.issue(one)).trustAnchors
  await fails.issue(one)
  for (let minutes = 0; minutes < 20; minutes += 5) {
    time.now += 5 * 60_000
    await upkeepOf(looks).look()
  }
  const requests: string[] = []
  standIn.interfere(({ method, path }) => void requests.push(`${method} ${path}`))
  await looks.issue(one)
  t.strictSame(requests, [], 'a round is a look')

  remove()
  const present = (await replica().issue(one)).trustAnchors
  t.not(present, former, 'another CA, by a replica that knew of none')
  t.equal((await fails.issue(one)).trustAnchors, present, 'without a round')
})

t.test('what was in use is forgotten with the CA, also if the same record comes again', async t => {
  for (const told of ['by a pod', 'by a round']) {
    const { replica, pods, secret, standIn, time } = await stage(t)
    const one = cluster('one')
    let record = ever
    const knows = replica({ record: async () => record })
    const former = (await knows.issue(one)).trustAnchors
    standIn.remove(secret(secretOf(one.namespace)) as Secret)
    const settled = told === 'by a round'
    record = { trust: 'shared', since: time.now - dayMs, settled }
    pods.set(one.uid, [head(time.now, 'held')])
    await (settled ? upkeepOf(knows).look() : knows.issue(one))
    // one that has said nothing yet
    pods.delete(one.uid)
    t.equal((await knows.issue(one)).trustAnchors, workshop.read('root.crt'), 'nor brought back')
    // nothing of this was left when the record was lost
    record = ever
    const anew = (await replica().issue(one)).trustAnchors
    t.not(anew, former, 'another CA')
    t.equal((await knows.issue(one)).trustAnchors, anew, `${told}: in every replica`)
  }
})
