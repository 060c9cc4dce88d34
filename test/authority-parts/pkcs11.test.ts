import { execFile } from 'node:child_process'
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto'
import { cpSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import {
  type Authority,
  AuthorityError,
  type IssuedCertificate,
  type ReloadOutcome
} from '../../src/authority/authority.ts'
import { openAuthority } from '../../src/authority/open.ts'
import { openPatiently } from '../../src/authority/patient.ts'
import { createOwnCas } from '../../src/authority/per-cluster/own-ca.ts'
import {
  openTokenAuthority,
  type TokenAuthoritySettings
} from '../../src/authority/pkcs11/token-authority.ts'
import { createTokenProcess } from '../../src/authority/pkcs11/token-process.ts'
import { noRefusedPin } from '../../src/authority/refused-pin.ts'
import { checkIntermediate } from '../../src/x509/check-intermediate.ts'
import { checkLeaf } from '../../src/x509/check-leaf.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { lifetimesOf, startStage } from '../support/enrollment-stage.ts'
import { openGatedToken } from '../support/gated-token.ts'
import { intermediateRequest } from '../support/intermediate-request.ts'
import { rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'
import { libraryFile, openSoftHsm } from '../support/soft-hsm.ts'
import { makeCa, makeKey, openWorkshop } from '../x509/openssl.ts'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const workshop = openWorkshop(t)
const hsm = openSoftHsm(workshop.directory)
const gated = openGatedToken(workshop.directory)
const pin = '493817'
const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1', '10.0.0.7'] }
const kinds = ['P-256', 'P-384', 'RSA-2048', 'RSA-4096'] as const
hsm.makeToken('pods', pin)
for (const [index, kind] of kinds.entries()) {
  makeCa(workshop, kind, { kind })
  const pkcs8 = workshop.path(`${kind}.p8`)
  workshop.run('pkcs8', '-topk8', '-nocrypt', '-in', `${kind}.key`, '-out', pkcs8)
  hsm.importKey('pods', pin, { file: pkcs8, label: kind, id: `0${index + 1}` })
}
workshop.write('pin', `${pin}\n`)
const secret = ['--keygen', '--key-type', 'GENERIC:32', '--usage-sign']
const makeSealingKey = (label: string, id: string) =>
  hsm.tool('pods', pin, ...secret, '--sensitive', '--label', label, '--id', id)
for (const [index, label] of ['seal-1', 'seal-2'].entries()) makeSealingKey(label, `a${index}`)

function settings(changes: Partial<TokenAuthoritySettings> = {}): TokenAuthoritySettings {
  return {
    kind: 'pkcs11',
    certificateFile: workshop.path('P-256.crt'),
    libraryFile,
    tokenLabel: 'pods',
    keyLabel: 'P-256',
    pinFile: workshop.path('pin'),
    sessions: 3,
    ...changes
  }
}

const options = {
  clock: () => Date.now() + 1000,
  random: randomBytes,
  pollMs: 0,
  tokenHost: new URL('../../dist/chunks/token-host.js', import.meta.url)
}
const podKey = makeKeyPairSync().privateKey
const request = {
  publicKey: createPublicKey(podKey).export({ type: 'spki', format: 'der' }),
  csr: Buffer.from(createCertificateRequest(podKey)),
  names,
  lifetimeSeconds: 86_400,
  rayCluster: { namespace: 'team', name: 'demo', uid: 'a3f1' }
}

/** What enrollment would find; none of it may be wrong. */
const problems = (issued: IssuedCertificate) =>
  checkLeaf(issued, {
    publicKey: request.publicKey,
    names,
    now: new Date(options.clock()),
    maximumLifetimeSeconds: request.lifetimeSeconds
  })

/** As a pod does: again, until there is a certificate. */
async function persistently(authority: Authority): Promise<[IssuedCertificate, number]> {
  for (let refused = 0; ; refused++) {
    try {
      return [await authority.issue(request), refused]
    } catch (error) {
      if (!(error instanceof AuthorityError) || error.code !== 'Unavailable') throw error
      if (refused > 300) throw error
      await sleep(200)
    }
  }
}

t.test('every kind of key in a token signs what openssl verifies', async t => {
  for (const [index, kind] of kinds.entries()) {
    const certificateFile = workshop.path(`${kind}.crt`)
    const found =
      index % 2 === 0 ? { keyLabel: kind } : { keyLabel: undefined, keyId: `0${index + 1}` }
    const authority = await openAuthority(settings({ certificateFile, ...found }), options)
    t.equal(authority.describe().kind, 'pkcs11', `${kind}: described`)
    const issued = await authority.issue(request)
    t.strictSame(problems(issued), [], `${kind}: our own check`)
    t.equal(issued.trustAnchors, workshop.read(`${kind}.crt`), `${kind}: the CA is the anchor`)
    workshop.write('leaf.crt', issued.certificate)
    const strictly = ['-x509_strict', '-partial_chain', '-CAfile', `${kind}.crt`]
    const judged = workshop.judge('verify', ...strictly, 'leaf.crt')
    t.ok(judged.ok, `${kind}: openssl ${judged.output}`)
    await authority.close()
  }
})

t.test('a key in a token signs the CA of a Ray cluster', async t => {
  const authority = await openTokenAuthority(settings(), options)
  const clusterKey = makeKeyPairSync().privateKey
  const commonName = 'RayCluster a3f1'
  const asked = intermediateRequest(clusterKey, commonName, 86_400)
  t.equal(authority.intermediates?.problem(), undefined, 'nothing is against it')
  const pem = (await authority.intermediates?.issue(asked)) ?? ''
  const found = checkIntermediate(pem, {
    ...{ publicKey: asked.publicKey, commonName, maximumLifetimeSeconds: 86_400 },
    now: new Date(options.clock()),
    issuers: authority.intermediates?.issuers?.()
  })
  t.strictSame(found, [], 'it is as it was asked for')
  workshop.write('cluster.crt', pem)
  const judged = workshop.judge('verify', '-x509_strict', '-CAfile', 'P-256.crt', 'cluster.crt')
  t.ok(judged.ok, `openssl ${judged.output}`)
  await authority.close()
})

t.test('a key that may leave the token is a warning', async t => {
  const der = ['-outform', 'DER', '-out', workshop.path('copy.der')]
  workshop.run('pkey', '-in', 'P-256.key', ...der)
  const copied = ['--write-object', workshop.path('copy.der'), '--type', 'privkey', '--usage-sign']
  for (const [label, more] of [
    ['kept', []],
    ['loose', ['--extractable']]
  ] as const)
    hsm.tool('pods', pin, ...copied, ...more, '--label', label, '--id', `c${more.length}`)
  await hsm.importOpen('pods', pin, { file: workshop.path('P-256.key'), label: 'open' })
  for (const [keyLabel, words] of [
    ['P-256', undefined],
    ['kept', undefined],
    ['loose', /\(CKA_EXTRACTABLE true\).* has had the PIN once/],
    ['open', /\(CKA_EXTRACTABLE true, CKA_SENSITIVE false\)/]
  ] as const) {
    const told: ReloadOutcome[] = []
    const onReload = (outcome: ReloadOutcome) => void told.push(outcome)
    const authority = await openTokenAuthority(settings({ keyLabel }), { ...options, onReload })
    await authority.close()
    const warnings = words === undefined ? [] : [words]
    t.match(told, [{ loaded: true, warnings }], keyLabel)
    t.match(told, [{ warnings: { length: warnings.length } }], `${keyLabel}: nothing else`)
  }
})

t.test('the keys of the CAs in Secrets are sealed by a key in the token', async t => {
  const ownCasOf = async (sealing: TokenAuthoritySettings['sealing']) => {
    const authority = await openTokenAuthority(settings({ sealing }), options)
    const ownCas = createOwnCas({ ...options, authority, leafSeconds: 86_400 })
    return { authority, ownCas, protection: authority.protection }
  }
  const { rayCluster } = request
  const plain = await ownCasOf(undefined)
  t.equal(plain.protection, undefined, 'not without the setting')
  const unsealed = await plain.ownCas.make(rayCluster)
  t.match(unsealed.key, { plain: String }, 'as it is')
  await plain.authority.close()

  const first = await ownCasOf({ keyLabel: 'seal-1' })
  t.ok(first.ownCas.isDue(unsealed), 'what is not sealed is due')
  const sealed = await first.ownCas.renewed(unsealed)
  if (sealed === undefined || !('sealed' in sealed.key)) throw new Error('it is sealed')
  t.match(sealed, { certificate: unsealed.certificate, key: { sealedBy: 'pkcs11' } }, 'and sealed')
  const bytes = Buffer.from(sealed.key.sealed, 'base64')
  const key = Buffer.from('plain' in unsealed.key ? unsealed.key.plain : '', 'base64')
  t.notOk(bytes.includes(key.subarray(-40)), 'attack: a stolen Secret has nothing of the key')
  t.notOk(first.ownCas.isDue(sealed), 'then it is as it should be')
  t.ok(await first.ownCas.open(sealed), 'and signs')
  const { protection } = first
  if (protection === undefined) throw new Error('it seals')
  t.strictSame(await protection.open(bytes, rayCluster.uid), key, 'the same key')
  t.notSame(await protection.seal(key, rayCluster.uid), bytes, 'no two seals are the same')
  const refused = { code: 'Refused' }
  await t.rejects(protection.open(bytes, 'b4e2'), refused, 'attack: the key of another RayCluster')
  await t.rejects(protection.open(bytes.subarray(0, 60), rayCluster.uid), refused, 'cut off')
  for (const place of bytes.keys()) {
    const changed = Buffer.from(bytes)
    changed[place] = (changed[place] ?? 0) ^ 1
    const isMark = place >= 1 && place < 9
    await t.rejects(
      protection.open(changed, rayCluster.uid),
      isMark ? { code: 'Unavailable' } : refused,
      `attack: changed at ${place}`
    )
  }
  hsm.remove()
  await t.rejects(protection.open(bytes, rayCluster.uid), { code: 'Unavailable' }, 'token is away')
  hsm.putBack()
  await persistently(first.authority)
  t.strictSame(await protection.open(bytes, rayCluster.uid), key, 'it is back, after a new login')
  await first.authority.close()

  const changing = await ownCasOf({ keyId: 'a1', former: { keyId: 'a0' } })
  t.ok(changing.ownCas.isDue(sealed), 'another key: it is due')
  t.ok(await changing.ownCas.open(sealed), 'the former one still opens')
  const anew = await changing.ownCas.renewed(sealed)
  if (anew === undefined) throw new Error('it is sealed anew')
  t.equal(anew.certificate, sealed.certificate, 'sealed anew, not signed anew')
  t.notOk(changing.ownCas.isDue(anew), 'once')
  await changing.authority.close()

  const second = await ownCasOf({ keyLabel: 'seal-2' })
  t.ok(await second.ownCas.open(anew), 'the former key is not needed any more')
  await t.rejects(second.ownCas.open(sealed), { code: 'Unavailable' }, 'where all are sealed anew')
  hsm.tool('pods', pin, '--delete-object', '--type', 'secrkey', '--label', 'seal-2')
  makeSealingKey('seal-2', 'a1')
  hsm.remove()
  await t.rejects(second.authority.issue(request), { code: 'Unavailable' }, 'it is away')
  hsm.putBack()
  await persistently(second.authority)
  await t.rejects(
    async () => void (await second.protection?.seal(key, rayCluster.uid)),
    { code: 'Unavailable', message: /another one than when this server started/ },
    'and comes back with another key of the same label'
  )
  await second.authority.close()
})

t.test('what is wrong is said in words, and the PIN never', async t => {
  const wrong = workshop.write('wrong-pin', '555444')
  makeKey(workshop, 'other', 'P-256')
  makeCa(workshop, 'stranger')
  makeCa(workshop, 'modern', { kind: 'Ed25519' })
  const twin = ['--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'twin']
  hsm.tool('pods', pin, ...twin, '--id', '0b')
  hsm.tool('pods', pin, ...twin, '--id', '0c')
  const eachTime = ['--keypairgen', '--key-type', 'EC:prime256v1', '--always-auth']
  hsm.tool('pods', pin, ...eachTime, '--label', 'each-time', '--id', '0d')
  hsm.tool('pods', pin, ...secret, '--sensitive', '--extractable', '--label', 'loose', '--id', 'a2')
  hsm.tool('pods', pin, '--keygen', '--key-type', 'AES:32', '--label', 'aes', '--id', 'a3')
  const seals = (keyLabel: string) => ({ sealing: { keyLabel } })
  const cases: [string, Partial<TokenAuthoritySettings>, RegExp, string?][] = [
    ['no such sealing key', seals('gone'), /HMAC, with the label gone; .*seal-1/],
    ['a sealing key that may leave', seals('loose'), /CKA_EXTRACTABLE/],
    ['a sealing key of another kind', seals('aes'), /HMAC, with the label aes/],
    ['a private key to seal with', seals('P-256'), /HMAC, with the label P-256/],
    ['a wrong PIN', { pinFile: wrong }, /PIN in pinFile is wrong/],
    ['no PIN', { pinFile: workshop.write('empty', '\n') }, /is empty/],
    ['no PIN file', { pinFile: '/nowhere/pin' }, /nowhere/],
    ['no such key', { keyLabel: 'gone' }, /EC with the label gone; .*P-256/],
    ['no such id', { keyLabel: undefined, keyId: 'ff' }, /EC with the id ff/],
    ['two keys', { keyLabel: 'twin' }, /2 times a private key .*EC with the label twin/],
    ['no such token', { tokenLabel: 'pots' }, /label pots; found: pods/, 'Unavailable'],
    ['no such slot', { tokenLabel: undefined, slot: 77 }, /in slot 77/, 'Unavailable'],
    ['a key for persons', { keyLabel: 'each-time' }, /ALWAYS_AUTHENTICATE/],
    ['another key', { certificateFile: workshop.path('stranger.crt') }, /does not belong/],
    ['another kind of key', { keyLabel: 'RSA-2048' }, /EC with the label RSA-2048/],
    ['a CA of another kind', { certificateFile: workshop.path('modern.crt') }, /Ed25519|not used/],
    ['no such library', { libraryFile: '/nowhere/lib.so' }, /nowhere\/lib\.so cannot be loaded/],
    ['no PKCS#11 library', { libraryFile: workshop.path('P-256.crt') }, /cannot be loaded/]
  ]
  for (const [what, changes, words, code = 'Invalid'] of cases) {
    const error = await openTokenAuthority(settings(changes), options).then(
      async authority => {
        await authority.close()
        return new Error('opened')
      },
      (found: Error) => found
    )
    t.match(error, { code, message: words }, `${what}: ${error.message}`)
    const shown = `${error.message} ${error.stack} ${(error.cause as Error)?.stack}`
    t.notMatch(shown, /493817|555444/, `attack 46: ${what}: no PIN`)
  }
  const authority = await openTokenAuthority(settings(), options)
  t.strictSame(problems(await authority.issue(request)), [], 'after all this it still opens')
  await authority.close()
})

t.test('a thousand signatures at once, and the token goes away and comes back', async t => {
  const { libraryFile } = gated
  const authority = await openTokenAuthority(settings({ libraryFile }), options)
  const began = performance.now()
  const asked = (length: number) => Array.from({ length }, () => persistently(authority))
  const before = await Promise.all(asked(300))
  gated.shut()
  const during = asked(1000)
  hsm.remove()
  gated.open()
  await t.rejects(
    (async () => {
      for (;;) await authority.issue(request)
    })(),
    { code: 'Unavailable' },
    'while it is away pods are told to come again'
  )
  hsm.putBack()
  const results = [...before, ...(await Promise.all(during))]
  t.strictSame(
    results.flatMap(([issued]) => problems(issued)),
    [],
    'all certificates are good'
  )
  t.equal(new Set(results.map(([issued]) => issued.serialNumber)).size, 1300, 'each its own')
  t.ok(
    results.some(([, refused]) => refused > 0),
    'some had to come again'
  )
  t.comment(`${((performance.now() - began) / 1000).toFixed(1)} s`)
  await authority.close()
})

t.test('an HSM that is slow holds nothing but who waits for it', async t => {
  t.teardown(gated.open)
  const slow = settings({ libraryFile: gated.libraryFile })
  /** What came first, what next. A timer can only come while the event loop is free. */
  const order: string[] = []
  const timers = async (count: number) => {
    for (let each = 0; each < count; each++) {
      await sleep(1)
      order.push('timer')
    }
  }
  const noted = <T>(work: Promise<T>, what: string) => work.finally(() => order.push(what))

  gated.shut()
  const opening = noted(openTokenAuthority(slow, options), 'login')
  await timers(300)
  gated.open()
  const authority = await opening
  t.strictSame(order.splice(0), [...Array(300).fill('timer'), 'login'], 'not by its login')

  gated.shut()
  const signatures = Array.from({ length: 12 }, () => noted(authority.issue(request), 'signed'))
  await timers(300)
  gated.open()
  const issued = await Promise.all(signatures)
  t.strictSame(issued.flatMap(problems), [], 'all certificates are good')
  t.strictSame(order, [...Array(300).fill('timer'), ...Array(12).fill('signed')], 'nor by these')
  await authority.close()
})

t.test('a library that hangs is given up, and one that breaks is begun anew', async t => {
  const { kind: _, certificateFile: __, ...token } = settings({ libraryFile: gated.libraryFile })
  const key = createTokenProcess(
    { ...token, keyType: 'ec', timeoutMs: 200, pauseMs: 1 },
    noRefusedPin(randomBytes),
    options.tokenHost
  )
  const digest = Buffer.alloc(32, 7)
  const signature = async () => await key.sign({ mechanism: 0x1041, size: 64 }, digest)
  /** As a pod does: again, until there is one. */
  const again = async () => {
    for (let tries = 0; ; tries++) {
      try {
        return await signature()
      } catch (error) {
        t.match(error, { code: 'Unavailable' }, 'told to come again')
        if (tries > 100) throw error
        await sleep(50)
      }
    }
  }
  t.equal((await again()).length, 64, 'it signs')
  const [first = 0, ...others] = gated.processes()
  t.ok(first > 0 && first !== process.pid && others.length === 0, 'in a process of its own')

  gated.shut()
  t.teardown(gated.open)
  await t.rejects(signature(), { code: 'Unavailable' }, 'it hangs')
  while (gated.processes().includes(first)) await sleep(5)
  gated.open()
  t.equal((await again()).length, 64, 'and signs again, in another process')

  for (const pid of gated.processes()) process.kill(pid, 'SIGSEGV')
  t.equal((await again()).length, 64, 'as it does after a fault of the library')
  await key.close()
  t.strictSame(gated.processes(), [], 'none is left behind')
})

t.test('an HSM that is lost in words of its maker is connected to anew', async t => {
  const { kind: _, certificateFile: __, ...token } = settings({ libraryFile: gated.libraryFile })
  const open = (pauseMs: number) =>
    createTokenProcess(
      { ...token, keyType: 'ec', timeoutMs: 5_000, pauseMs },
      noRefusedPin(randomBytes),
      options.tokenHost
    )
  const signature = async (key: ReturnType<typeof open>) =>
    (await key.sign({ mechanism: 0x1041, size: 64 }, Buffer.alloc(32, 7))).length
  for (const [what, pauseMs, ends] of [
    ['when the connection has lasted', 0, true],
    ['not at once, since it may say what no new one would mend', 3_600_000, false]
  ] as const) {
    const key = open(pauseMs)
    t.equal(await signature(key), 64, 'it signs')
    gated.lose()
    const after = signature(key)
    if (ends) t.equal(await after, 64, what)
    else await t.rejects(after, { code: 'Unavailable', message: /CKR_VENDOR_DEFINED/ }, what)
    await key.close()
  }
})

t.test('one session serves many at once', async t => {
  const authority = await openTokenAuthority(settings({ sessions: 1 }), options)
  const began = performance.now()
  const issued = await Promise.all(Array.from({ length: 200 }, () => authority.issue(request)))
  t.strictSame(issued.flatMap(problems), [], 'all certificates are good')
  t.comment(`${Math.round(200_000 / (performance.now() - began))} a second with one session`)
  await authority.close()
  await t.rejects(authority.issue(request), { code: 'Unavailable' }, 'closed is closed')
})

t.test('attack on ourselves: a PIN that was wrong is not tried again', async t => {
  const pinFile = workshop.write('changing-pin', pin)
  const authority = await openTokenAuthority(settings({ pinFile }), options)
  hsm.remove()
  writeFileSync(pinFile, '000111')
  await t.rejects(authority.issue(request), { code: 'Unavailable' }, 'the token is away')
  hsm.putBack()
  const refusals = new Set<string>()
  await sleep(1100)
  for (let pods = 0; pods < 20; pods++) {
    await authority.issue(request).catch((error: AuthorityError) => refusals.add(error.message))
  }
  t.match([...refusals], [/PIN in pinFile is wrong/], 'the PIN is wrong')
  // A right login resets this flag of the token; it would be set by a further wrong try.
  hsm.tool('pods', pin, '--list-objects')
  await sleep(1100)
  await t.rejects(authority.issue(request), { code: 'Invalid' }, 'and is known to be wrong')
  t.notMatch(hsm.flags(), /user PIN count low/i, 'the token was not asked again')
  writeFileSync(pinFile, pin)
  const [issued] = await (async () => {
    for (let tries = 0; ; tries++) {
      try {
        return [await authority.issue(request)] as const
      } catch (error) {
        if (tries > 50) throw error
        await sleep(100)
      }
    }
  })()
  t.strictSame(problems(issued), [], 'with the right one it goes on')
  await authority.close()
})

t.test('attack on ourselves: nor is it by a server that starts before its HSM', async t => {
  const pinFile = workshop.write('first-pin', '000222')
  const refusedPin = noRefusedPin(randomBytes)
  const faults: string[] = []
  hsm.remove()
  const authority = await openPatiently({
    open: () => openTokenAuthority(settings({ pinFile }), { ...options, refusedPin }),
    ...{ kind: 'pkcs11', namesFrom: 'server', retryMs: 20 },
    mayEnd: () => refusedPin.digest === undefined,
    onFault: ({ message }) => faults.push(message)
  })
  t.teardown(() => authority.close())
  t.match(authority.problem?.(), /no token/, 'it is away')
  hsm.putBack()
  const isWrong = () => faults.filter(message => /PIN in pinFile is wrong/.test(message)).length
  while (isWrong() === 0) await sleep(20)
  // A right login resets this flag of the token; it would be set by a further wrong try.
  hsm.tool('pods', pin, '--list-objects')
  const before = isWrong()
  while (isWrong() < before + 5) await sleep(20)
  t.notMatch(hsm.flags(), /user PIN count low/i, 'the token was not asked again')
  writeFileSync(pinFile, pin)
  while (authority.problem?.() !== undefined) await sleep(20)
  t.strictSame(problems(await authority.issue(request)), [], 'with the right one it goes on')
})

t.test('attack on ourselves: a start with a wrong PIN does not end in another start', async t => {
  const refusedPin = noRefusedPin(randomBytes)
  const pinFile = workshop.write('wrong-from-the-start', '000333')
  const open = () => openTokenAuthority(settings({ pinFile }), { ...options, refusedPin })
  const patience = { kind: 'pkcs11', namesFrom: 'server', retryMs: 60_000 } as const
  const mayEnd = () => refusedPin.digest === undefined
  const authority = await openPatiently({ ...patience, open, mayEnd, onFault() {} })
  t.match(authority.problem?.(), /PIN in pinFile is wrong/, 'it waits for another PIN')
  await authority.close()
  hsm.tool('pods', pin, '--list-objects')
  const another = openTokenAuthority(settings({ pinFile }), { ...options, refusedPin })
  await t.rejects(another, { code: 'Invalid' }, 'it is known')
  t.notMatch(hsm.flags(), /user PIN count low/i, 'without the token')
})

t.test('a renewed certificate of the same key is taken, one of another key is not', async t => {
  const certificateFile = workshop.write('current.crt', workshop.read('P-256.crt'))
  const authority = await openTokenAuthority(settings({ certificateFile }), options)
  t.equal(await authority.reload(), undefined, 'nothing has changed')
  workshop.run(
    ...['req', '-x509', '-key', 'P-256.key', '-subj', '/CN=renewed', '-days', '99'],
    ...['-addext', 'keyUsage=critical,keyCertSign', '-out', 'renewed.crt']
  )
  writeFileSync(certificateFile, workshop.read('renewed.crt'))
  t.match(await authority.reload(), { loaded: true, description: { subject: 'CN=renewed' } }, 'new')
  writeFileSync(certificateFile, workshop.read('stranger.crt'))
  t.match(await authority.reload(), { loaded: false, reason: /does not belong/ }, 'attack 53: not')
  t.equal(authority.describe().subject, 'CN=renewed', 'the former one goes on')
  const issued = await authority.issue(request)
  t.ok(
    new X509Certificate(issued.certificate).verify(
      new X509Certificate(workshop.read('renewed.crt')).publicKey
    ),
    'and signs'
  )
  await authority.close()
})

t.test(
  'a pod is told to come again while the token is away, and then gets its certificate',
  async t => {
    const realAuthority = await openTokenAuthority(settings(), { ...options, clock: Date.now })
    const stage = await startStage({ realAuthority, lifetimes: lifetimesOf(86_400) })
    t.teardown(async () => {
      await stage.close()
      await realAuthority.close()
    })
    const cluster = rayCluster('demo', {
      head: { podName: 'head-1', serviceName: 'demo-head-svc' }
    })
    stage.standIn.put(cluster)
    stage.standIn.put(serviceOf(cluster, 'demo-head-svc'))
    const pod = await stage.run(
      rayPod({ name: 'worker-1', cluster, node: 'worker', ips: ['127.0.0.3'] })
    )
    hsm.remove()
    const away = await stage.enroll(pod)
    t.equal(away.status, 503, 'again')
    t.equal(away.body.code, 'AuthorityUnavailable', 'because of the authority')
    t.ok(away.headers['retry-after'], 'with a time')
    t.notMatch(JSON.stringify(away.body), /token|PIN|pods/i, 'attack 47: and no word about the HSM')
    hsm.putBack()
    let reply = away
    for (let tries = 0; reply.status === 503 && tries < 50; tries++) {
      await sleep(200)
      reply = await stage.enroll(pod)
    }
    t.equal(reply.status, 201, 'there it is')
  }
)

t.test('a program whose native module is missing says so before it is needed', async t => {
  const config = workshop.write(
    'config.yaml',
    JSON.stringify({
      components: ['enrollment'],
      injection: { image: 'registry.test/rayguard:1' },
      authority: settings()
    })
  )
  const check = async (program: string) =>
    await new Promise<{ code: unknown; said: string }>(resolve => {
      const env = { SOFTHSM2_CONF: process.env.SOFTHSM2_CONF }
      execFile(
        process.execPath,
        [program, 'check-config', config],
        { env },
        (error, stdout, stderr) => resolve({ code: error?.code ?? 0, said: stdout + stderr })
      )
    })
  t.match(await check('dist/rayguard.js'), { code: 0 }, 'with it all is well')
  // Nothing beside the bundle, as in an image that was built without it.
  cpSync('dist', workshop.path('dist'), { recursive: true })
  workshop.write('package.json', '{ "type": "module" }')
  const without = await check(workshop.path('dist/rayguard.js'))
  t.match(without, { code: 2, said: /authority: .*pkcs11js is not installed/ }, 'without it')
})
