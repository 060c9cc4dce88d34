/** What another has written meanwhile stays: each step here is held up until somebody else was first. */
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import {
  AuthorityError,
  type IntermediateAuthority,
  type KeyProtection,
  type RayClusterReference
} from '../../src/authority/authority.ts'
import {
  entryIn,
  entrySecrets,
  recordSecret,
  secretOf,
  withEntry
} from '../../src/authority/per-cluster/entries.ts'
import {
  recordIn,
  settle,
  settlingMs,
  type TrustRecord
} from '../../src/authority/per-cluster/record.ts'
import { unseenMs } from '../../src/authority/per-cluster/standing.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import {
  cluster,
  dayMs,
  ever,
  head,
  openPerCluster,
  upkeepOf,
  whenAllWrite
} from '../support/per-cluster-stage.ts'
import { makeCa } from '../x509/openssl.ts'

const { external, stage, workshop } = openPerCluster(t)
makeCa(workshop, 'next')

type Staged = Awaited<ReturnType<typeof stage>>

/** By a person, who deletes the pods as well; KubeRay makes another head. */
function takeOut({ standIn, secret, pods, time }: Staged, { namespace, uid }: RayClusterReference) {
  const whole = secret(secretOf(namespace)) as Secret
  standIn.put({ ...whole, data: {} })
  pods.set(uid, [head(time.now, 'unknown')])
}

t.test('of replicas that start at once one writes the record, and its word stays', async t => {
  for (const trust of ['perCluster', 'shared'] as const) {
    const { standIn, time, recordOf, secret } = await stage(t)
    const startedAt = time.now
    const { until } = whenAllWrite(standIn, 2)
    const both = Promise.all([recordOf(trust).current(), recordOf(trust).current()])
    await until
    time.now += 1000
    const [first, second] = await both
    t.strictSame(first, second, `${trust}: both work by the same`)
    const expected =
      trust === 'shared' ? { since: startedAt, settled: true } : { since: 0, settled: false }
    t.strictSame(first, { trust, ...expected }, 'what the first has found')
    t.strictSame(recordIn(secret(recordSecret)?.data ?? {}), first, 'which stands there')
  }
})

t.test('who settles by a word that is not the last settles nothing', async t => {
  const { recordOf, replica, secret } = await stage(t)
  const record = await recordOf('shared', { foreign: true }).current()
  const { secrets } = replica()
  const settled = () => recordIn(secret(recordSecret)?.data ?? {})?.settled
  await settle(secrets, { ...record, since: record.since - 1 })
  t.equal(settled(), false, 'it went to the other setting and back since')
  await settle(secrets, record)
  t.equal(settled(), true, 'the last')
})

t.test('what has changed since a round began is not cleared', async t => {
  const { standIn, secret, time, replica } = await stage(t)
  const one = cluster('one')
  const name = secretOf(one.namespace)
  const found = () => entryIn(secret(name)?.data ?? {}, one.uid)
  await replica().issue(one)
  const own = secret(name) as Secret
  const claim = { ...own, data: withEntry({}, { ...one, trust: 'shared', usedAt: 0 }) }
  const changed: TrustRecord = { trust: 'shared', since: time.now - settlingMs, settled: false }
  const looks = (record: () => Promise<TrustRecord>) => upkeepOf(replica({ record })).look()

  standIn.put(claim)
  let reads = 0
  standIn.interfere(({ method, path }) => {
    if (method !== 'GET' || !path.endsWith(name)) return undefined
    reads += 1
    if (reads === 2) standIn.put(own)
    return undefined
  })
  await looks(async () => changed)
  t.match(found(), { trust: 'perCluster' }, 'a CA that was made meanwhile')
  standIn.interfere(undefined)

  standIn.put(claim)
  const words: TrustRecord[] = [changed, { ...changed, trust: 'perCluster', since: time.now }]
  await looks(async () => words.shift() ?? changed)
  t.match(found(), { trust: 'shared' }, 'the setting is the other one again')
  await looks(async () => ({ ...changed, since: changed.since + 1 }))
  t.match(found(), { trust: 'shared' }, 'others may not know of the change yet')
  await looks(async () => changed)
  t.equal(found(), undefined, 'nothing has: it is not needed')
})

t.test('a renewal that comes second does not write over what is there by then', async t => {
  const { replica, standIn, changes, time, secret } = await stage(t)
  const one = cluster('one')
  const stored = () => secret(secretOf(one.namespace))?.data?.[one.uid]
  let meanwhile = async () => {}
  const quick = external(() => time.now)
  const { intermediates: signer } = quick
  if (signer === undefined) throw new Error('it signs CAs')
  const slow = replica({
    authority: {
      ...quick,
      intermediates: {
        ...signer,
        async issue(request) {
          await meanwhile()
          return await signer.issue(request)
        }
      }
    }
  })
  await slow.issue(one)
  time.now += 200 * dayMs
  let first: string | undefined
  meanwhile = async () => {
    await upkeepOf(replica()).look()
    first = stored()
  }
  await upkeepOf(slow).look()
  t.strictSame(changes, ['made one', 'renewed one'], 'told once')
  t.ok(first, 'another replica has renewed it')
  t.equal(stored(), first, 'and that stays')

  time.now += 200 * dayMs
  const whole = secret(secretOf(one.namespace)) as Secret
  meanwhile = async () => void standIn.put({ ...whole, data: {} })
  await upkeepOf(slow).look()
  t.equal(stored(), undefined, 'nor does it bring back what a person has taken out')
})

t.test('which setting holds is asked when the turn has come, not when the pod has', async t => {
  const { standIn, time, pods, replica } = await stage(t)
  const one = cluster('one')
  const { trustAnchors } = await replica().issue(one)
  pods.set(one.uid, [])
  time.now += 2 * unseenMs
  let record: TrustRecord = ever
  standIn.interfere(({ method, path }) => {
    const isTurn = method === 'GET' && path.endsWith(secretOf(one.namespace))
    if (isTurn) record = { trust: 'shared', since: time.now - dayMs, settled: false }
    return undefined
  })
  const issued = await replica({ record: async () => record }).issue(one)
  t.not(issued.trustAnchors, trustAnchors, 'it is released')
})

t.test('what is made since a round has read its Secret stays in use', async t => {
  const { standIn, replica } = await stage(t)
  const one = cluster('one')
  const serves = replica()
  let made: Promise<unknown> | undefined
  standIn.interfere(({ path }) => {
    if (!path.endsWith(entrySecrets.at(-1) ?? '')) return undefined
    made ??= serves.issue(one)
    return { until: made }
  })
  await upkeepOf(serves).look()
  t.ok(await made, 'made behind the round')
  const asked: string[] = []
  standIn.interfere(({ method, path }) => {
    asked.push(`${method} ${path}`)
    return undefined
  })
  t.ok(await serves.issue(one), 'the next pod of it')
  t.strictSame(asked, [], 'needs neither its Secret nor what that is sealed by')
})

t.test('a Secret that another RayCluster makes anew gets back what it held', async t => {
  for (const back of ['by the next round', 'by the next pod']) {
    const { replica, standIn, secret } = await stage(t)
    const [one, two] = [cluster('one'), cluster('two')]
    let since = 0
    const knows = replica({ record: async () => ({ ...ever, since }) })
    const anchor = (await knows.issue(one)).trustAnchors
    const whole = secret(secretOf(one.namespace)) as Secret
    standIn.interfere(({ method }) => {
      if (method === 'PUT') standIn.remove(whole)
      return undefined
    })
    t.ok(await replica().issue(two), 'deleted while it was written: begun anew')
    standIn.interfere(undefined)
    const stored = () => Object.keys(secret(secretOf(one.namespace))?.data ?? {})
    t.strictSame(stored(), [two.uid], 'for the one that is made alone')

    standIn.interfere(({ method }) => (method === 'PUT' ? { status: 500 } : undefined))
    await upkeepOf(knows, { onFault: () => {} }).look()
    standIn.interfere(undefined)
    t.strictSame(stored(), [two.uid], 'a round in vain')
    if (back === 'by the next round') await upkeepOf(knows).look()
    // what it has opened before is read again
    since += 1
    t.equal((await knows.issue(one)).trustAnchors, anchor, back)
    t.equal((await replica().issue(one)).trustAnchors, anchor, 'for every replica')

    await upkeepOf(knows).look()
    const both = secret(secretOf(one.namespace)) as Secret
    standIn.put({ ...both, data: {} })
    await upkeepOf(knows).look()
    t.strictSame(stored(), [], 'what is taken out of the new one stays out')
  }
})

t.test('what was renewed since a round has read its Secret stays in use', async t => {
  const { standIn, time, replica } = await stage(t)
  const one = cluster('one')
  const [renews, serves] = [replica(), replica()]
  await renews.issue(one)
  time.now += 200 * dayMs
  let renewed: Promise<unknown> | undefined
  await upkeepOf(serves, {
    async exists() {
      renewed ??= upkeepOf(renews)
        .look()
        .then(() => serves.issue(one))
      await renewed
      return true
    }
  }).look()
  const asked: string[] = []
  standIn.interfere(({ method, path }) => {
    asked.push(`${method} ${path}`)
    return undefined
  })
  t.ok(await serves.issue(one), 'the next pod of it')
  t.strictSame(asked, [], 'needs no Secret')
})

t.test('a CA that a pod had released behind a round does not come back', async t => {
  const { standIn, secret, time, pods, replica, recordOf } = await stage(t)
  const root = workshop.read('root.crt')
  const one = cluster('one')
  let record: TrustRecord = ever
  const knows = replica({ record: async () => record })
  await knows.issue(one)
  record = await recordOf('shared', { foreign: true }).current()
  time.now += settlingMs + 2 * unseenMs
  pods.set(one.uid, [head(time.now, 'unknown')])
  standIn.remove(secret(secretOf(one.namespace)) as Secret)
  let asked: Promise<{ trustAnchors: string }> | undefined
  await upkeepOf(knows, {
    foreign: () => true,
    async exists() {
      asked ??= knows.issue(one)
      // it has taken its turn at the Secret, and waits for the API server
      await new Promise(setImmediate)
      return true
    }
  }).look()
  t.equal((await asked)?.trustAnchors, root, 'the first of its new pods has the shared one')
  const found = () => entryIn(secret(secretOf(one.namespace))?.data ?? {}, one.uid)
  t.equal(found(), undefined, 'the round brings nothing back')
  pods.set(one.uid, [head(time.now, 'held'), head(time.now + 1000, 'unknown')])
  t.equal((await knows.issue(one)).trustAnchors, root, 'the second joins the first')
})

/** An authority whose signer a test can make slow; what was asked of it, as public keys. */
function signer(clock: () => number) {
  const authority = external(clock)
  const { intermediates } = authority
  if (intermediates === undefined) throw new Error('it signs CAs')
  const state = { slow: false, withdrawn: 0, asked: [] as string[] }
  const slow: IntermediateAuthority = {
    ...intermediates,
    async issue(request) {
      state.asked.push(Buffer.from(request.publicKey).toString('hex'))
      if (state.slow) throw new AuthorityError('Unavailable', 'a person has to approve it')
      return await intermediates.issue(request)
    },
    withdraw() {
      state.withdrawn += 1
    }
  }
  return { state, authority: { ...authority, intermediates: slow } }
}

t.test('what a pod had released behind a round is no more counted as held', async t => {
  for (const how of ['in use here', 'in use at another', 'while the round reads']) {
    const { standIn, secret, time, pods, replica } = await stage(t)
    const one = cluster('one')
    let record: TrustRecord = ever
    const [serves, other] = [0, 1].map(() => replica({ record: async () => record }))
    if (serves === undefined || other === undefined) throw new Error('there are two')
    await (how === 'in use at another' ? other : serves).issue(one)
    record = { trust: 'shared', since: time.now, settled: false }
    time.now += settlingMs + 2 * unseenMs
    pods.set(one.uid, [head(time.now, 'unknown')])
    let asked: Promise<{ trustAnchors: string }> | undefined
    standIn.interfere(({ path }) => {
      if (how !== 'while the round reads' || asked || !path.endsWith(secretOf(one.namespace)))
        return undefined
      const body = JSON.stringify(secret(secretOf(one.namespace)))
      asked = serves.issue(one)
      return { status: 200, body, until: asked }
    })
    await upkeepOf(serves, {
      async exists() {
        asked ??= serves.issue(one)
        await asked
        return true
      }
    }).look()
    t.equal((await asked)?.trustAnchors, workshop.read('root.crt'), `${how}: it is released`)
    t.strictSame([...serves.authority.held.keys()], [], 'and gone')
  }
})

t.test('what another has made anew since a round has read its Secret takes its place', async t => {
  const staged = await stage(t)
  const { replica } = staged
  const one = cluster('one')
  const [serves, other] = [replica(), replica()]
  await serves.issue(one)
  takeOut(staged, one)
  let anew: Promise<{ trustAnchors: string }> | undefined
  await upkeepOf(serves, {
    async exists() {
      anew ??= other.issue(one)
      await anew
      return true
    }
  }).look()
  const { trustAnchors } = await serves.issue(one)
  t.equal(trustAnchors, (await anew)?.trustAnchors, 'a pod that asks here joins the others')
})

/** What seals waits, when a test says so, until the test lets it go on. */
function gatedProtection() {
  const gate = { close: () => {}, open: () => {}, reached: Promise.resolve() }
  let shut: Promise<void> | undefined
  let reach = () => {}
  gate.close = () => {
    gate.reached = new Promise(resolve => {
      reach = resolve
    })
    shut = new Promise(resolve => {
      gate.open = resolve
    })
  }
  const protection: KeyProtection = {
    kind: 'gated',
    seal: async bytes => bytes,
    async open(bytes) {
      const waits = shut
      // the first alone
      shut = undefined
      if (waits) reach()
      await waits
      return bytes
    }
  }
  return { gate, protection }
}

t.test('while a CA is opened slowly, what a pod asks for in its place stays', async t => {
  for (const [what, hasServed] of [
    ['one that is followed', true],
    ['one that is renewed', false]
  ] as const) {
    const staged = await stage(t)
    const { time, replica } = staged
    const one = cluster('one')
    const { gate, protection } = gatedProtection()
    const { state, authority: signs } = signer(() => time.now)
    const authority = { ...signs, protection }
    const [serves, beside] = [replica({ authority }), replica({ authority })]
    await (hasServed ? serves : beside).issue(one)
    time.now += 200 * dayMs
    if (hasServed) await upkeepOf(beside).look()
    gate.close()
    const round = upkeepOf(serves, { onFault: () => {} }).look()
    await gate.reached

    takeOut(staged, one)
    Object.assign(state, { slow: true, asked: [] })
    await t.rejects(serves.issue(one), { code: 'Unavailable' }, `${what}: a new pod comes`)
    gate.open()
    await round
    t.equal(state.withdrawn, 0, 'nothing is withdrawn')
    t.notOk(serves.authority.used.has(one.uid), 'nor is what was taken out in use')
    await t.rejects(serves.issue(one), { code: 'Unavailable' }, 'the pod comes again')
    t.equal(new Set(state.asked).size, 1, 'and one key is asked for')
  }
})

t.test('what a pod has asked for behind a round is not withdrawn by it', async t => {
  for (const what of ['before the round has read its Secret', 'after it']) {
    const staged = await stage(t)
    const { time, replica } = staged
    const [one, two] = [cluster('one', 'a'), cluster('two', 'b')]
    const { state, authority } = signer(() => time.now)
    const serves = replica({ authority })
    for (const each of [one, two]) await serves.issue(each)
    const takeBothOut = () => {
      for (const each of [one, two]) {
        takeOut(staged, each)
      }
      time.now += 16 * 60_000
    }
    if (what.startsWith('before')) takeBothOut()
    state.slow = true
    let asked: Promise<unknown> | undefined
    await upkeepOf(serves, {
      async exists() {
        if (asked === undefined && !what.startsWith('before')) takeBothOut()
        // of whichever the round does not look at now
        asked ??= t.rejects(serves.issue(two), { code: 'Unavailable' }, 'a new pod comes meanwhile')
        await asked
        return true
      }
    }).look()
    t.equal(state.withdrawn, 0, `${what}: nothing is withdrawn`)
    await t.rejects(serves.issue(two), { code: 'Unavailable' }, 'the pod comes again')
    t.equal(new Set(state.asked.slice(2)).size, 1, 'and one key is asked for')
  }
})

t.test('who begins anew does not get the key whose renewal was asked for', async t => {
  const staged = await stage(t)
  const { time, replica } = staged
  const one = cluster('one')
  const former = await replica().issue(one)
  const { state, authority } = signer(() => time.now)
  const beside = replica({ authority, perNamespace: 1 })
  state.slow = true
  time.now += 200 * dayMs
  await upkeepOf(beside, { onFault: () => {} }).look()
  t.equal(state.asked.length, 1, 'a renewal waits')

  takeOut(staged, one)
  state.slow = false
  const anew = await beside.issue(one)
  const keyOf = ({ trustAnchors }: { trustAnchors: string }) =>
    new X509Certificate(trustAnchors).publicKey
  t.notOk(keyOf(anew).equals(keyOf(former)), 'what somebody has taken out is gone')
  t.equal(state.withdrawn, 1, 'with what was asked for it')
})

t.test('a CA that is loaded anew while it signs has signed well', async t => {
  makeCa(workshop, 'short', { days: 200, subject: '/CN=renewed' })
  const again = ['-req', '-in', 'short.csr', '-extfile', 'short.cnf', '-extensions', 'ext']
  workshop.run('x509', ...again, '-key', 'short.key', '-days', '3650', '-out', 'long.crt')
  workshop.write('long.key', workshop.read('short.key'))
  for (const [from, to] of [
    ['root', 'next'],
    ['short', 'long']
  ] as const) {
    for (const by of ['the former', 'the new one']) {
      const { time, replica } = await stage(t)
      const [former, next] = [from, to].map(name => external(() => time.now, {}, name))
      if (former === undefined || next === undefined) throw new Error('there are two')
      let current = former
      const { issue } = replica({
        authority: {
          ...former,
          intermediates: {
            problem: () => undefined,
            issuers: () => current.intermediates?.issuers?.() ?? '',
            async issue(request) {
              const signs = by === 'the former' ? former : next
              const signed = await signs.intermediates?.issue(request)
              current = next
              return signed ?? ''
            }
          }
        }
      })
      t.ok(await issue(cluster('one')), `from ${from} to ${to}: ${by} has signed`)
    }
  }
})
