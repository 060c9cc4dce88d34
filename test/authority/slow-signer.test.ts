/** The CA of a RayCluster from a signer that takes longer than any enrollment waits, or whom a person lets sign. */
import { createPublicKey, randomBytes, randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { AuthorityError, type RayClusterReference } from '../../src/authority/authority.ts'
import { type AuthoritySettings, openAuthority } from '../../src/authority/open.ts'
import { createPending } from '../../src/authority/per-cluster/pending.ts'
import { createPerClusterAuthority } from '../../src/authority/per-cluster/per-cluster.ts'
import { createClusterSecrets } from '../../src/authority/per-cluster/secrets.ts'
import { createUpkeep } from '../../src/authority/per-cluster/upkeep.ts'
import { createStandIn } from '../../src/demo/stand-in.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import { readCertificate } from '../../src/x509/certificate.ts'
import { checkLeaf } from '../../src/x509/check-leaf.ts'
import { readSinglePem } from '../../src/x509/pem.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { type PlayedKind, playSigner } from '../support/played-signer.ts'
import type { Bend } from '../support/signer.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
const pair = servingPair()
const namespace = 'rayguard-system'
const daySeconds = 86_400
const [again, tooMany] = [{ code: 'Unavailable' }, { code: 'Exhausted' }]
makeCa(workshop, 'ca', { days: 3650 })

const ofIssuer: Wishes = {
  of: 'CertificateRequest',
  settings: {
    ...{ kind: 'cert-manager', issuerOpenToAllNamespaces: false },
    issuer: { name: 'ray-pods', kind: 'Issuer', group: 'cert-manager.io' },
    certificateFile: workshop.path('ca.crt')
  }
}
const ofSigner: Wishes = {
  of: 'CertificateSigningRequest',
  settings: {
    ...{ kind: 'kubernetes-csr', approve: true, certificateFile: workshop.path('ca.crt') },
    ...{ signerName: 'a.test/pods', intermediateSignerName: 'a.test/cas' }
  }
}

const ofFiles: AuthoritySettings = {
  ...{ kind: 'pem', certificateFile: workshop.path('ca.crt') },
  privateKeyFile: workshop.path('ca.key')
}

type Stage = Awaited<ReturnType<typeof stage>>

interface Wishes {
  of: PlayedKind
  settings: AuthoritySettings
}

/** A signer that is played, and as many replicas as a test asks for. */
async function stage(t: Test, { of, settings }: Wishes = ofIssuer) {
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  t.teardown(() => standIn.close())
  const signer = playSigner(standIn, workshop, of, 4 * daySeconds)
  const kinds = { resources: [{ kind: 'Issuer', namespaced: true }] }
  const groups: Record<string, object> = {
    '/apis/cert-manager.io': { preferredVersion: { groupVersion: 'cert-manager.io/v1' } },
    '/apis/cert-manager.io/v1': kinds
  }
  const discovery = ({ path }: { path: string }) =>
    groups[path] && { status: 200, body: JSON.stringify(groups[path]) }
  standIn.interfere(discovery)
  const changes: string[] = []
  const time = { ahead: 0 }

  async function replica({
    waitMs = 20,
    perNamespace = 100,
    leafSeconds = daySeconds,
    authority: from = settings
  } = {}) {
    const client = createClient(connectionTo(server, pair.ca), { timeoutMs: 30_000 })
    const sources = { clock: () => Date.now() + time.ahead, random: randomBytes }
    const inner = await openAuthority(from, {
      ...{ ...sources, pollMs: 0 },
      cluster: {
        ...{ client, namespace, waitMs, steadyClock: () => performance.now() },
        fraction: Math.random
      }
    })
    const secrets = createClusterSecrets(client, namespace)
    const onChange = (change: string, { name }: { name: string }) =>
      void changes.push(`${change} ${name}`)
    const record = async () => ({ trust: 'perCluster' as const, since: 0, settled: false })
    const trust = { record, apiClock: sources.clock }
    const authority = createPerClusterAuthority({
      ...{ ...sources, ...trust, authority: inner, secrets, leafSeconds, perNamespace, onChange },
      podsOf: () => [{ node: 'head', createdAt: Date.now(), certificate: 'unknown' }]
    })
    const faults: unknown[] = []
    const upkeep = createUpkeep({
      ...{ ...trust, authority, secrets, onChange, everyMs: 60_000 },
      exists: async () => true,
      runs: () => true,
      foreign: () => false,
      clock: () => performance.now(),
      onFault: error => void faults.push(error)
    })
    let closed: Promise<void> | undefined
    const close = () => {
      closed ??= authority.close().then(() => client.close())
      return closed
    }
    t.teardown(close)
    return {
      ...{ authority, upkeep, faults, close },
      async issue(rayCluster: RayClusterReference) {
        const key = newKey()
        return await authority.issue({
          publicKey: createPublicKey(key).export({ type: 'spki', format: 'der' }),
          csr: Buffer.from(createCertificateRequest(key)),
          names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
          ...{ lifetimeSeconds: leafSeconds, rayCluster }
        })
      }
    }
  }
  const signs = async () => {
    signer.behave('sign')
    await until(() => signer.present().every(({ status }) => status?.certificate))
  }
  return { standIn, discovery, signer, signs, replica, changes, time }
}

function cluster(name: string, uid: string = randomUUID()): RayClusterReference {
  return { namespace: 'team', name, uid }
}

async function until(holds: () => unknown): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 5))
}

t.test('the pods of a RayCluster come again and again, its CA is asked for once', async t => {
  const { signer, signs, replica, changes, time } = await stage(t)
  const { issue } = await replica({ perNamespace: 1 })
  const one = cluster('one')
  signer.behave('wait')
  for (const _ of [1, 2, 3]) await t.rejects(issue(one), again, 'the pod is told to come again')
  t.equal(signer.created.length, 1, 'all tries are one request')
  await t.rejects(issue(cluster('two')), tooMany, 'attack 76: what is asked for counts as made')
  for (const minutes of [50, 100]) {
    time.ahead = minutes * 60_000
    await t.rejects(issue(one), again, 'still')
  }
  await t.rejects(issue(cluster('two')), tooMany, 'attack 76: and as held, an hour later')
  await signs()
  const [first, second] = [await issue(one), await issue(one)]
  t.equal(first.trustAnchors, second.trustAnchors, 'then all have the same CA')
  workshop.write('own.crt', first.trustAnchors)
  t.ok(workshop.judge('verify', '-CAfile', 'ca.crt', 'own.crt').ok, 'by the signer')
  t.equal(signer.created.length, 1, 'of the first request')
  t.strictSame(changes, ['refused two', 'refused two', 'made one'], 'made once')
  await until(() => signer.present().length === 0)
  t.pass('which is taken away')
})

t.test('attack 85: a CA that is not what was asked for is none', async t => {
  const { standIn, signer, replica, changes } = await stage(t, ofSigner)
  makeCa(workshop, 'stranger')
  const { issue } = await replica({ waitMs: 60_000 })
  const bends: [Bend, RegExp][] = [
    ['no path length', /PathLength: /],
    ['name constraints', /Constraints: /],
    ['a leaf', /Authority: /],
    ['a longer life', /Lifetime: /],
    ['another key', /PublicKey: /],
    ['another CA', /signed by "CN=stranger"/]
  ]
  for (const [bend, message] of bends) {
    signer.bend = bend
    // Each for a RayCluster of its own, whose first try is waited for.
    await t.rejects(issue(cluster('bent')), { code: 'Invalid', message }, bend)
  }
  t.notOk(
    standIn.requests.some(each => /^(POST|PUT) .*secrets/.test(each)),
    'nothing is kept'
  )
  signer.bend = undefined
  const { certificate, trustAnchors } = await issue(cluster('one'))
  t.strictSame(changes, ['made one'], 'a good one is taken')
  workshop.write('own.crt', trustAnchors)
  workshop.write('leaf.crt', certificate)
  const above = ['-CAfile', 'ca.crt', '-untrusted', 'own.crt', 'leaf.crt']
  for (const judged of [
    workshop.judge('verify', ...above),
    workshop.judge('verify', '-partial_chain', '-CAfile', 'own.crt', 'leaf.crt')
  ])
    t.ok(judged.ok, `openssl: ${judged.output}`)
  t.notOk(
    signer.created.some(({ spec }) => 'signerName' in spec && spec.signerName === 'a.test/pods'),
    'the signer of pods was never asked'
  )
})

t.test('a no is asked for once too', async t => {
  const { signer, replica } = await stage(t)
  const { issue } = await replica()
  const one = cluster('one')
  signer.behave('deny')
  for (const _ of [1, 2]) await t.rejects(issue(one), { code: 'Denied' }, 'denied')
  t.equal(signer.created.length, 1, 'whoever denied it is left in peace')
})

t.test('of two replicas that wait one wins, and the other takes back what it asked', async t => {
  const { signer, signs, replica, changes } = await stage(t)
  const [a, b] = [await replica(), await replica()]
  const one = cluster('one')
  signer.behave('wait')
  for (const { issue } of [a, b, a, b]) await t.rejects(issue(one), again, 'again')
  t.equal(signer.created.length, 2, 'each has a key of its own')
  await signs()
  const anchors = [await b.issue(one), await a.issue(one)].map(issued => issued.trustAnchors)
  t.equal(new Set(anchors).size, 1, 'one CA')
  t.strictSame(changes, ['made one'], 'of one replica')
  await until(() => signer.present().length === 0)
  t.pass('nothing is left over')
})

t.test('what was asked goes with the replica that asked', async t => {
  const { signer, replica } = await stage(t)
  const ends = await replica()
  signer.behave('wait')
  await t.rejects(ends.issue(cluster('one')), again, 'again')
  t.equal(signer.present().length, 1, 'it waits')
  await ends.close()
  t.equal(signer.present().length, 0, 'a request whose key is gone is nothing to approve')
})

t.test('a replica that ends leaves the renewals that others wait for', async t => {
  const { signer, signs, replica, changes, time } = await stage(t)
  const one = cluster('one')
  await (await replica()).issue(one)
  const leafSeconds = 3 * daySeconds
  signer.lifetimeSeconds = 4 * leafSeconds
  time.ahead = daySeconds * 1000
  const [ends, stays] = [await replica({ leafSeconds }), await replica({ leafSeconds })]
  const created = signer.created.length
  signer.behave('wait')
  for (const { upkeep } of [ends, stays]) await upkeep.look()
  t.equal(signer.created.length, created + 1, 'both wait for one request')
  await ends.close()
  t.equal(signer.present().length, 1, 'which stays for the other')
  await signs()
  await stays.upkeep.look()
  t.match(changes, ['made one', 'renewed one'], 'that renews the CA when it is signed')
  t.equal(signer.created.length, created + 1, 'and has asked for nothing anew')
})

t.test('a CA that could not be written down is not asked for again', async t => {
  const { standIn, discovery, signer, replica } = await stage(t)
  const { issue } = await replica()
  const one = cluster('one')
  standIn.interfere(request =>
    request.method === 'POST' && request.path.endsWith('/secrets')
      ? { status: 403 }
      : discovery(request)
  )
  await t.rejects(issue(one), again, 'no right to write')
  t.equal(signer.created.length, 1, 'it was signed')
  standIn.interfere(discovery)
  t.ok(await issue(one), 'and is used')
  t.equal(signer.created.length, 1, 'as it is')
})

t.test('a renewal is waited for in the same way, and holds nobody up', async t => {
  const { standIn, signer, signs, replica, changes, time } = await stage(t)
  const earlier = await replica()
  const one = cluster('one')
  // of the same namespace, and so in the same Secret
  const beside = cluster('beside')
  const former = await earlier.issue(one)
  await earlier.issue(beside)
  // A longer life of pods makes the CAs too short; the signer's clock is the real one.
  const leafSeconds = 3 * daySeconds
  signer.lifetimeSeconds = 4 * leafSeconds
  time.ahead = daySeconds * 1000
  const [patient, hasty] = [
    await replica({ leafSeconds, waitMs: 60_000 }),
    await replica({ leafSeconds })
  ]
  const created = signer.created.length
  signer.behave('wait')
  for (const _ of [1, 2]) await hasty.upkeep.look()
  t.match(hasty.faults, [again, again, again, again], 'neither is signed, twice')
  t.equal(signer.created.length, created + 2, 'one request for each in all rounds')
  t.equal((await hasty.issue(one)).trustAnchors, former.trustAnchors, 'meanwhile the former serves')
  const asked = () => standIn.requests.filter(each => /^POST .*certificaterequests/.test(each))
  const before = asked().length
  const round = patient.upkeep.look()
  await until(() => asked().length > before)
  t.ok(await patient.issue(beside), 'while one is waited for another of its Secret is served')
  await signs()
  await round
  t.strictSame(patient.faults, [], 'the other replica has joined the same requests')
  await hasty.upkeep.look()
  t.strictSame(
    changes.filter(each => each.startsWith('renewed')).sort(),
    ['renewed beside', 'renewed one'],
    'each is renewed once'
  )
  const anchors = [await patient.issue(one), await hasty.issue(one)].map(each => each.trustAnchors)
  t.equal(new Set(anchors).size, 1, 'in both replicas')
  t.not(anchors[0], former.trustAnchors, 'to the new one')
  await until(() => signer.present().length === 0)
  t.equal(signer.created.length, created + 2, 'nothing was asked anew, and nothing is left over')
})

t.test('an authority of another kind renews a CA in the very bytes of its name', async t => {
  const { signer, replica, changes, time } = await stage(t, ofSigner)
  const one = cluster('one')
  signer.bend = 'another encoding'
  const asks = await replica({ waitMs: 60_000 })
  const former = await asks.issue(one)
  t.match(namesIn(former.trustAnchors), /O=UTF8STRING:.*CN=UTF8STRING:/, 'not as we would write it')
  time.ahead = 2.5 * daySeconds * 1000
  const late = await asks.issue(one)
  const signs = await replica({ authority: ofFiles })
  await signs.upkeep.look()
  t.strictSame([signs.faults, changes], [[], ['made one', 'renewed one']], 'by a key of our own')
  const renewed = await signs.issue(one)
  t.equal(namesIn(renewed.trustAnchors), namesIn(former.trustAnchors), 'openssl sees the same')
  for (const [what, leaf, anchor] of [
    ['a new pod is let in by an old one', renewed, former],
    ['and the other way round', late, renewed]
  ] as const) {
    const [problems, judged] = accepted(leaf, anchor, time.ahead)
    t.strictSame(problems, [], what)
    t.ok(judged.ok, `openssl: ${judged.output}`)
  }
  time.ahead += 2.5 * daySeconds * 1000
  signer.bend = undefined
  // Its clock is the real one.
  signer.lifetimeSeconds = 9 * daySeconds
  const forwards = await replica({ waitMs: 60_000 })
  await forwards.upkeep.look()
  t.strictSame([forwards.faults, changes.length], [[], 3], 'by a signer that takes what is asked')
  const again = await forwards.issue(one)
  t.equal(namesIn(again.trustAnchors), namesIn(former.trustAnchors), 'the same')
})

for (const bend of ['another encoding', 'another identifier'] satisfies Bend[]) {
  t.test(`an authority that writes ${bend} is told of, and not asked in vain`, async t => {
    const { signer, replica, changes, time } = await stage(t, ofSigner)
    const one = cluster('one')
    const { issue, upkeep, faults } = await replica({ waitMs: 60_000 })
    const former = await issue(one)
    time.ahead = 3 * daySeconds * 1000
    Object.assign(signer, { bend, lifetimeSeconds: 7 * daySeconds })
    const asked = () => signer.created.length - 1
    for (const _ of [1, 2]) await upkeep.look()
    const told = { code: 'Invalid', message: /team\/one is not renewed: .* other bytes/ }
    t.match(faults, [told, told], 'each look tells it')
    t.equal(asked(), 1, 'the signer was asked once')
    t.equal((await issue(one)).trustAnchors, former.trustAnchors, 'the former signs on')
    time.ahead += 61 * 60_000
    await upkeep.look()
    t.equal(asked(), 2, 'an hour later it may have changed')
    time.ahead = 4 * daySeconds * 1000 - 30 * 60_000
    const next = await issue(one)
    t.not(next.trustAnchors, former.trustAnchors, 'when the former is over there is another')
    t.strictSame(changes, ['made one', 'renewed one'], 'for the same RayCluster')
  })
}

/** As openssl reads it, with the types of the strings. */
function namesIn(pem: string): string {
  workshop.write('named.crt', pem)
  const form = ['-nameopt', 'sep_comma_plus,show_type,sname']
  return workshop.run('x509', '-in', 'named.crt', '-noout', '-subject', ...form)
}

type Issued = Awaited<ReturnType<Awaited<ReturnType<Stage['replica']>>['issue']>>

/** By us, who compare names byte by byte, and by openssl, which does not. */
function accepted({ certificate }: Issued, { trustAnchors }: Issued, ahead: number) {
  const now = Date.now() + ahead
  const leaf = readCertificate(readSinglePem(certificate, 'CERTIFICATE') ?? new Uint8Array())
  workshop.write('leaf.crt', certificate)
  workshop.write('anchor.crt', trustAnchors)
  return [
    checkLeaf(
      { certificate, trustAnchors },
      {
        ...{ publicKey: leaf.publicKey, now: new Date(now) },
        names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
        maximumLifetimeSeconds: daySeconds
      }
    ),
    workshop.judge(
      ...['verify', '-partial_chain', '-CAfile', 'anchor.crt'],
      ...['-attime', String(Math.floor(now / 1000)), 'leaf.crt']
    )
  ] as const
}

t.test('who waits for a person keeps nobody from being served', async t => {
  let now = 1
  let answer: (certificate: string) => void = () => {}
  const withdrawn: string[] = []
  let tries = 0
  const pending = createPending({
    sign() {
      tries += 1
      if (tries === 1) throw new AuthorityError('Unavailable', 'slow')
      return new Promise(resolve => {
        answer = resolve
      })
    },
    withdraw: ({ rayCluster }) => void withdrawn.push(rayCluster.name),
    clock: () => now,
    patienceMs: 1
  })
  const one = cluster('one')
  await t.rejects(pending.signed(one), again, 'the first try')
  await t.rejects(pending.signed(one), again, 'the second is sent away before the signer has ended')
  await t.rejects(pending.signed(one), again, 'and so is the third')
  t.equal(tries, 2, 'who joined it')
  answer('signed')
  t.match(await pending.signed(one), { certificate: 'signed' }, 'it went on behind them')
  t.equal(tries, 2, 'nothing more was asked')
  void pending.signed(cluster('two'))
  t.equal(pending.ofNamespace('team').length, 2, 'two are asked for')
  now += 3 * 3_600_000
  t.equal(pending.ofNamespace('team').length, 0, 'nobody has come for hours')
  t.notOk(pending.hasFirst(one.uid), 'it is forgotten')
  pending.close()
  t.strictSame(withdrawn, ['two'], 'and taken back where it was not signed')
})
