/**
 * The CA is replaced under running pods: the real agent enrolls at each step, and every pod shakes hands with every other.
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { checkPair } from '../../src/agent/certificates.ts'
import {
  type AlsoTrustedReload,
  openAlsoTrusted,
  withAlsoTrusted
} from '../../src/authority/also-trusted.ts'
import type { AnchorDescription, LeafRequest } from '../../src/authority/authority.ts'
import { openPemAuthority } from '../../src/authority/pem-authority.ts'
import { toldChain } from '../../src/authority/told-chain.ts'
import type { TerminationMessage } from '../../src/contract/enrollment.ts'
import { strangers } from '../../src/live/anchors.ts'
import { readAnchors } from '../../src/x509/anchors.ts'
import { type AuthorityCertificateRequest, createAuthorityCertificate } from '../../src/x509/ca.ts'
import { type KeyPair, makeKeyPairSync } from '../../src/x509/new-key.ts'
import { optionsFor, run } from '../support/agent-run.ts'
import { startStage } from '../support/enrollment-stage.ts'
import { mutualTls } from '../support/mutual-tls.ts'
import { rayCluster, rayPod } from '../support/ray-objects.ts'
import { caExtensions, makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
const former = makeCa(workshop, 'former')
const next = makeCa(workshop, 'next')
const file = (name: string) => workshop.path(name)
const replace = (name: string, text: string) => {
  writeFileSync(file(`${name}.new`), text)
  renameSync(file(`${name}.new`), file(name))
}
const sha256 = (pem: string) =>
  new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase()

interface EnrolledPod extends TerminationMessage {
  name: string
  directory: string
}

/** The enrollment server over files that the test replaces, as an administrator would. */
async function rotation(t: Test) {
  replace('tls.crt', former)
  replace('tls.key', workshop.read('former.key'))
  const files = { certificateFile: file('tls.crt'), privateKeyFile: file('tls.key') }
  const around = { clock: Date.now, pollMs: 0 }
  const authority = await openPemAuthority(files, { ...around, random: randomBytes })
  const told: AlsoTrustedReload[] = []
  let woken = () => {}
  const alsoTrusted = await openAlsoTrusted(file('also-trusted.crt'), {
    ...around,
    pollMs: 5,
    onReload(outcome) {
      told.push(outcome)
      woken()
    }
  })
  const realAuthority = withAlsoTrusted(authority, alsoTrusted)
  const stage = await startStage({ realAuthority })
  stage.standIn.put(rayCluster())
  t.teardown(async () => {
    await stage.close()
    await realAuthority.close()
    await alsoTrusted.close()
  })
  let pods = 0
  return {
    told,
    describe: realAuthority.describe,
    /** What the file holds is in use, or refused. */
    async alsoTrust(...certificates: string[]) {
      const noticed = new Promise<void>(resolve => {
        woken = resolve
      })
      replace('also-trusted.crt', certificates.join(''))
      await noticed
    },
    async signWith(name: string) {
      replace('tls.crt', workshop.read(`${name}.crt`))
      replace('tls.key', workshop.read(`${name}.key`))
      await authority.reload()
    },
    async enroll(name: string): Promise<EnrolledPod> {
      pods += 1
      const ip = `127.0.1.${pods}`
      const pod = await stage.run(rayPod({ name, ips: [ip] }))
      const tokenFile = workshop.write(`${name}.token`, stage.standIn.issueToken(pod))
      const place = { directory: file(name), tokenFile, terminationLog: file('none') }
      mkdirSync(place.directory)
      const options = optionsFor(stage, place, { podIPs: [ip], sourceAddress: ip })
      const { outcome, log } = await run(options, { tries: 3 })
      if (outcome?.kind !== 'issued') throw new Error(`${name} has no certificate: ${log}`)
      return { ...outcome.pair.summary, name, directory: place.directory }
    }
  }
}

t.test('each step of a rotation leaves every pod able to reach every other', async t => {
  const { describe, alsoTrust, signWith, enroll } = await rotation(t)
  const before = await enroll('before')
  t.strictSame(before.trustedSha256, [sha256(former)], 'the CA that signs, alone')

  await alsoTrust(former, next)
  const first = await enroll('first')
  t.match(first, { anchorSha256: sha256(former) }, 'step 1: the former CA signs')
  t.strictSame(first.trustedSha256, [sha256(former), sha256(next)], 'and both are trusted, once')
  t.match(describe(), { subject: 'CN=former', alsoTrusted: [{ subject: 'CN=next' }] })
  await allReach(t, [before, first])

  await signWith('next')
  const second = await enroll('second')
  t.match(second, { anchorSha256: sha256(next) }, 'step 2: the next one signs')
  t.strictSame(second.trustedSha256, [sha256(next), sha256(former)])
  t.match(describe(), { subject: 'CN=next', alsoTrusted: [{ subject: 'CN=former' }] })
  await allReach(t, [first, second])

  await alsoTrust()
  const third = await enroll('third')
  t.strictSame(third.trustedSha256, [sha256(next)], 'step 3: the former one is forgotten')
  await allReach(t, [second, third])

  await t.test('and a step that comes too early cuts pods off from each other', async t => {
    await noneReaches(t, before, second, 'signing before all pods trust the next CA')
    await noneReaches(t, first, third, 'forgetting the former CA while a pod has its certificate')
    t.strictSame(
      namesOf(strangers([before, first, second])),
      ['second'],
      'which is what the agents’ words tell as well'
    )
    t.strictSame(strangers([first, second]), [])
    t.strictSame(namesOf(strangers([first, third])), ['first'])
  })
})

t.test(
  'a CA renewed with its key is the same to pods that trust its former certificate',
  async t => {
    const { signWith, enroll } = await rotation(t)
    const before = await enroll('before-renewal')
    await signWith(anew('renewed', caExtensions))
    const after = await enroll('after-renewal')
    t.not(after.anchorSha256, before.anchorSha256, 'another certificate')
    t.equal(after.anchorKeySha256, before.anchorKeySha256, 'of the same CA')
    await allReach(t, [before, after])
    t.strictSame(strangers([before, after]), [], 'which is what the agents’ words tell')

    await t.test('but not under another key identifier, which its certificates name', async t => {
      const identifier = `subjectKeyIdentifier=${'0a'.repeat(20)}`
      const extensions = caExtensions.filter(each => !/Identifier=/.test(each))
      await signWith(anew('identified', [...extensions, identifier]))
      const other = await enroll('other-identifier')
      await noneReaches(t, before, other, 'a verifier compares the identifier')
      t.strictSame(namesOf(strangers([before, other])), ['before-renewal', 'other-identifier'])
    })

    function anew(name: string, extensions: string[]): string {
      workshop.write(`${name}.cnf`, `[ext]\n${extensions.join('\n')}\n`)
      workshop.run(
        ...['x509', '-req', '-in', 'former.csr', '-key', 'former.key', '-days', '500'],
        ...['-extfile', `${name}.cnf`, '-extensions', 'ext', '-out', `${name}.crt`]
      )
      replace(`${name}.key`, workshop.read('former.key'))
      return name
    }
  }
)

t.test('the dates of a CA that is named in two certificates stop no pod', async t => {
  const begun = Date.now()
  const day = (count: number) => begun + count * 86_400_000
  let now = begun
  const clock = () => now
  const keys = makeKeyPairSync()
  const ca = (notBefore: number, notAfter: number, ofKeys = keys) =>
    createAuthorityCertificate({
      ...{ commonName: 'dates', keys: ofKeys, pathLength: 0, serialNumber: randomBytes(16) },
      ...{ notBefore: new Date(notBefore), notAfter: new Date(notAfter) }
    })
  const signing = await ca(day(-1), day(900))
  replace('dates.crt', signing)
  replace('dates.key', keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
  const authority = await openPemAuthority(
    { certificateFile: file('dates.crt'), privateKeyFile: file('dates.key') },
    { clock, random: randomBytes, pollMs: 0 }
  )
  /** What a pod gets while this is trusted too; the file does not change. */
  async function beside(pem: string) {
    replace('dates-also.crt', pem)
    const alsoTrusted = await openAlsoTrusted(file('dates-also.crt'), { clock, pollMs: 0 })
    const { issue, describe } = withAlsoTrusted(authority, alsoTrusted)
    return async () => {
      const { privateKey, publicKey } = makeKeyPairSync()
      const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
      const spki = publicKey.export({ type: 'spki', format: 'der' })
      const request = { ...leafRequest(), publicKey: spki, names }
      const { certificate, trustAnchors, alsoTrusted: also = '' } = await issue(request)
      return {
        also,
        all: alsoTrusted.pem(),
        described: describe().alsoTrusted?.length,
        /** By the agent of a pod that is told this. */
        checked: (told = trustAnchors + also) =>
          checkPair({ certificate, trustAnchors: told, privateKey, podIPs: [], now })
      }
    }
  }

  await t.test('the former one ends', async t => {
    const former = await ca(day(-300), day(10))
    const get = await beside(former)
    for (const [count, all] of [
      [0, former],
      [9, former],
      [11, ''],
      // A clock that was put right.
      [8, former]
    ] as const) {
      now = day(count)
      const { also, described, checked, ...beside } = await get()
      const what = `day ${count}`
      t.equal(beside.all, all, `${what}: what is also trusted`)
      t.equal(described, all === '' ? 0 : 1, `${what}: and told of`)
      // A pod lives longer than the former one, and gRPC may come upon that.
      t.equal(also, '', `${what}: the pod is told the one that signs`)
      const summary = { anchorSha256: sha256(signing), trustedSha256: [sha256(signing)] }
      const good = { usable: true, pair: { trustAnchors: signing, summary } }
      t.match(checked(), good, `${what}: the agent takes it`)
      for (const told of [former + signing, signing + former]) {
        t.match(checked(told), good, `${what}: and keeps no other, where it is told`)
      }
    }
    const { checked } = await get()
    now = day(901)
    t.match(
      checked(former + signing),
      { code: 'CertificateDates' },
      'where none is left it says so'
    )
  })

  await t.test('another CA ends before the pod does', async t => {
    now = begun
    for (const [ends, keys] of [
      [1 / 48, 1],
      [2 / 24, 2]
    ] as const) {
      const check = (
        await (
          await beside(await ca(day(-1), day(ends), makeKeyPairSync()))
        )()
      ).checked()
      const { trustedSha256, trustedKeySha256 } = check.usable ? check.pair.summary : {}
      t.equal(trustedSha256?.length, 2, 'it is trusted')
      t.equal(
        trustedKeySha256?.length,
        keys,
        'and whatever it signs after a renewal, if it lasts as long'
      )
    }
  })

  await t.test('the next one is still to begin', async t => {
    now = begun
    const next = await ca(day(1), day(1000))
    const get = await beside(next)
    t.equal((await get()).also, '', 'it is no anchor beside the one in force')
    t.match((await get()).checked(), { usable: true })
    t.match((await get()).checked(next + signing), { pair: { trustAnchors: signing } })
    now = day(2)
    t.equal((await get()).also, '', 'nor when it has begun')
    t.match((await get()).checked(signing + next), { pair: { trustAnchors: next } }, 'it is either')
  })
})

t.test('of a CA that is also trusted in two certificates pods are told one', async t => {
  const keys = makeKeyPairSync()
  let now = Date.now()
  const day = (count: number) => new Date(now + count * 86_400_000)
  const ca = (from: number, to: number, changes = {}) =>
    createAuthorityCertificate({
      ...{ commonName: 'beside', keys, pathLength: 0, serialNumber: randomBytes(16) },
      ...{ notBefore: day(from), notAfter: day(to), ...changes }
    })
  const [ends, lasts, begins] = [await ca(-9, 10), await ca(-9, 20), await ca(1, 30)]
  const others = [
    await ca(-9, 10, { keys: makeKeyPairSync() }),
    await ca(-9, 10, { commonName: 'other' })
  ]
  replace('beside.crt', [ends, ...others, lasts, begins].join(''))
  const alsoTrusted = await openAlsoTrusted(file('beside.crt'), { clock: () => now, pollMs: 0 })
  t.equal(alsoTrusted.beside(former), others.join('') + lasts, 'that in force which ends last')
  t.equal(alsoTrusted.describe().length, 5, 'pods of all of them are known')
  now = day(2).getTime()
  t.equal(alsoTrusted.beside(former), others.join('') + begins, 'when the next one has begun')
})

t.test('what cannot be trusted is not told to pods', async t => {
  const { told, describe, alsoTrust, enroll } = await rotation(t)
  const root = makeCa(workshop, 'root')
  const low = makeCa(workshop, 'low', { issuer: 'root' })
  const unnamed = [...caExtensions.slice(0, 2), 'subjectKeyIdentifier=none']
  const namesake = makeCa(workshop, 'namesake', { subject: '/CN=next' })
  const mistakable = makeCa(workshop, 'mistakable', { subject: '/CN=next', extensions: unnamed })
  const bad: [what: string, pem: string, reason: RegExp][] = [
    ['a root above its CA', low + root, /"CN=root" has signed "CN=low"/],
    ['two that gRPC cannot tell apart', next + mistakable, /Two CAs have the name "CN=next"/],
    ['a leaf', leaf(), /not a CA/],
    ['a CA that gRPC cannot use', addressConstraints(), /IP addresses/],
    ['junk', '-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n', /damaged/],
    ['a private key', workshop.read('next.key'), /Only certificates/]
  ]
  await alsoTrust(next)
  for (const [what, pem, reason] of bad) {
    await alsoTrust(pem)
    t.match(told.at(-1), { loaded: false, reason }, what)
    t.match(describe().alsoTrusted, [{ subject: 'CN=next' }], 'the former content stays')
    await t.rejects(
      openAlsoTrusted(file('also-trusted.crt'), { clock: Date.now, pollMs: 0 }),
      { code: 'Invalid' },
      'and nothing starts with it'
    )
  }
  await alsoTrust(next)
  t.match(told.at(-1), { loaded: true }, 'it is put right')
  const { trustedSha256 } = await enroll('pod')
  t.strictSame(trustedSha256, [sha256(former), sha256(next)])

  await t.test('attack: the root of the very CA that signs', async t => {
    const refused: AnchorDescription[] = []
    replace('root-alone.crt', root)
    const alsoTrusted = await openAlsoTrusted(file('root-alone.crt'), {
      clock: Date.now,
      pollMs: 0,
      onLeftOut: anchor => refused.push(anchor)
    })
    t.equal(alsoTrusted.beside(low), '', 'no pod is told to trust all that it has signed')
    t.match(refused, [{ subject: 'CN=root' }], 'and it is told of')
    t.equal(alsoTrusted.beside(former), root, 'beside another CA it is one like others')
  })

  await t.test('the name of the CA that signs, and another key', async t => {
    const reasons: string[] = []
    replace('namesakes.crt', namesake + former)
    const open = () =>
      openAlsoTrusted(file('namesakes.crt'), {
        clock: Date.now,
        pollMs: 0,
        onLeftOut: ({ subject }, reason) => reasons.push(`${subject} ${reason}`)
      })
    const told = await open()
    t.equal(told.beside(next), namesake + former, 'is told, where identifiers tell them apart')
    t.strictSame(reasons, [])
    t.equal(told.beside(mistakable), former, 'and else left out')
    t.match(reasons, [/^CN=next .*needs another name/], 'which is said')

    const sameKey = ['x509', '-req', '-in', 'mistakable.csr', '-key', 'mistakable.key']
    workshop.run(...sameKey, '-extfile', 'namesake.cnf', '-extensions', 'ext', '-out', 'named.crt')
    const named = workshop.read('named.crt')
    replace('namesakes.crt', mistakable + named)
    const same = await open()
    t.equal(same.beside(mistakable), '', 'with the same key it is the same CA')
    t.equal(same.beside(named), '', 'with an identifier or without')
    t.equal(same.beside(former), mistakable, 'which is told once')
    t.match(reasons.slice(1), [/it is the CA that signs pods, under another/], 'which is said')
  })

  await t.test('attack: a root two levels above it, in another certificate', async t => {
    const middle = makeCa(workshop, 'middle', { issuer: 'root' })
    makeCa(workshop, 'lowest', { issuer: 'middle' })
    const sameKey = ['-in', 'root.csr', '-key', 'root.key', '-days', '3650']
    const extended = ['-extfile', 'root.cnf', '-extensions', 'ext']
    workshop.run('x509', '-req', ...sameKey, ...extended, '-out', 'root-anew.crt')
    const anew = workshop.read('root-anew.crt')
    t.not(anew, root)
    replace('chain.crt', workshop.read('lowest.crt') + middle)
    const authority = await openPemAuthority(
      { certificateFile: file('chain.crt'), privateKeyFile: file('lowest.key') },
      { clock: Date.now, random: randomBytes, pollMs: 0 }
    )
    for (const pem of [root, anew, middle]) {
      replace('above.crt', pem + next)
      const alsoTrusted = await openAlsoTrusted(file('above.crt'), { clock: Date.now, pollMs: 0 })
      const { issue } = withAlsoTrusted(authority, alsoTrusted)
      const issued = await issue(leafRequest())
      t.equal(issued.alsoTrusted, next, 'pods are told of the other CA alone')
    }
  })

  await t.test('attack: a root above a CA that has ended, as an issuer tells them', async t => {
    const now = Date.now()
    const [rootKeys, middleKeys, lowKeys] = [
      makeKeyPairSync(),
      makeKeyPairSync(),
      makeKeyPairSync()
    ]
    const ca = (
      commonName: string,
      keys: KeyPair,
      ends: number,
      issuer?: AuthorityCertificateRequest['issuer']
    ) =>
      createAuthorityCertificate({
        ...{ commonName, keys, pathLength: 3, serialNumber: randomBytes(16) },
        ...{ notBefore: new Date(now - 9e8), notAfter: new Date(now + ends) },
        ...(issuer && { issuer })
      })
    const top = await ca('top', rootKeys, 9e9)
    const between = await ca('between', middleKeys, -1000, { commonName: 'top', keys: rootKeys })
    const issuing = await ca('issuing', lowKeys, 9e8, { commonName: 'between', keys: middleKeys })
    const chain = toldChain(issuing + between + top, { now: new Date(now) })
    t.equal(chain.notAfter.getTime(), Math.floor((now + 9e8) / 1000) * 1000, 'it can be used')
    replace('top.crt', top)
    const alsoTrusted = await openAlsoTrusted(file('top.crt'), { clock: Date.now, pollMs: 0 })
    t.equal(alsoTrusted.beside(chain.trustAnchor, chain), '', 'no pod is told to trust it')
  })

  await t.test('a CA that has ended is left out, one that has not begun is not', async t => {
    const later = new Date(Date.now() + 400 * 86_400_000)
    const reading = readAnchors(former + next + former, { now: later })
    t.match(reading, { anchors: [], problems: [] })
    t.equal(reading.warnings.length, 3)
    const early = readAnchors(former + next + former, { now: new Date(0) })
    t.match(early, { problems: [], warnings: [] })
    t.equal(early.anchors.length, 2, 'each once')
  })
})

const namesOf = (pods: readonly { name: string }[]) => pods.map(({ name }) => name)

function leafRequest(): LeafRequest {
  const { publicKey } = makeKeyPairSync()
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    ...{ csr: new Uint8Array(), names: { dnsNames: ['localhost'], ipAddresses: [] } },
    ...{ lifetimeSeconds: 3600, rayCluster: { namespace: 'team', name: 'demo', uid: 'a3f1' } }
  }
}

function leaf(): string {
  workshop.run(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-subj', '/CN=leaf', '-days', '30', '-keyout', 'leaf.key', '-out', 'leaf.crt'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE']
  )
  return workshop.read('leaf.crt')
}

function addressConstraints(): string {
  const constraint = 'nameConstraints=critical,permitted;IP:10.0.0.0/255.0.0.0'
  return makeCa(workshop, 'constrained', { extensions: [...caExtensions, constraint] })
}

/** In both directions, as server and as client. */
async function allReach(t: Test, pods: EnrolledPod[]): Promise<void> {
  for (const server of pods) {
    for (const client of pods) {
      const what = `${client.name} reaches ${server.name}`
      t.equal(await handshake(server, client), 'secure', what)
      t.ok(judged(server, client), `${what}, says openssl`)
    }
  }
}

async function noneReaches(t: Test, one: EnrolledPod, other: EnrolledPod, why: string) {
  for (const [server, client] of [
    [one, other],
    [other, one]
  ] as const) {
    t.not(await handshake(server, client), 'secure', `${why}: ${client.name} to ${server.name}`)
    t.notOk(judged(server, client), 'says openssl as well')
  }
}

/** Each one's certificate by the other's ca.crt, for the side of the connection that it is on. */
function judged(server: EnrolledPod, client: EnrolledPod): boolean {
  const verify = (purpose: string, by: EnrolledPod, of: EnrolledPod) =>
    workshop.judge(
      ...['verify', '-x509_strict', '-partial_chain', '-purpose', purpose],
      ...['-no-CApath', '-no-CAstore', '-CAfile', join(by.directory, 'ca.crt')],
      join(of.directory, 'tls.crt')
    ).ok
  return verify('sslserver', client, server) && verify('sslclient', server, client)
}

/** Mutual TLS over the very files that the agent has written. */
function handshake(server: EnrolledPod, client: EnrolledPod): Promise<string> {
  const filesOf = ({ directory }: EnrolledPod) => ({
    cert: readFileSync(join(directory, 'tls.crt')),
    key: readFileSync(join(directory, 'tls.key')),
    ca: readFileSync(join(directory, 'ca.crt'))
  })
  return mutualTls(filesOf(server), filesOf(client))
}
