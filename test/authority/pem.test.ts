import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate
} from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { chmodSync, mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { LeafRequest, ReloadOutcome } from '../../src/authority/authority.ts'
import { openAuthority } from '../../src/authority/open.ts'
import type { AuthorityOptions } from '../../src/authority/options.ts'
import { openPemAuthority } from '../../src/authority/pem-authority.ts'
import { openPemKey } from '../../src/authority/pem-key.ts'
import { checkLeaf } from '../../src/x509/check-leaf.ts'
import * as der from '../../src/x509/der.ts'
import { makeKeyPair, makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { caExtensions, makeCa, makeKey, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
const hourMs = 3_600_000
const now = Math.floor(Date.now() / 1000) * 1000 + 2000
const root = makeCa(workshop, 'root')
const low = makeCa(workshop, 'low', { issuer: 'root', days: 30 })
const end = Date.parse(new X509Certificate(low).validTo)
const begin = Date.parse(new X509Certificate(low).validFrom)

const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1', '10.0.0.7'] }

function requestFor(key: KeyObject, changes: Partial<LeafRequest> = {}): LeafRequest {
  return {
    publicKey: createPublicKey(key).export({ type: 'spki', format: 'der' }),
    csr: Buffer.from(createCertificateRequest(key)),
    names,
    lifetimeSeconds: 86_400,
    rayCluster: { namespace: 'team', name: 'demo', uid: 'a3f1' },
    ...changes
  }
}
const podKey = makeKeyPairSync().privateKey

/** Files in a directory of their own; key files closed to others. */
function place(files: Record<string, string>) {
  const directory = join(workshop.directory, randomBytes(6).toString('hex'))
  mkdirSync(directory)
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(directory, name), text, { mode: 0o600 })
  }
  return {
    directory,
    settings: {
      kind: 'pem' as const,
      certificateFile: join(directory, 'tls.crt'),
      privateKeyFile: join(directory, 'tls.key')
    }
  }
}

const options = (changes: Partial<AuthorityOptions> = {}): AuthorityOptions => ({
  clock: () => now,
  random: randomBytes,
  pollMs: 0,
  ...changes
})

/** SHA-256 over what openssl says of a certificate: subject, public key and subjectKeyIdentifier. */
function nameAndKey(name: string): string {
  const certificate = ['x509', '-in', `${name}.crt`, '-noout']
  const publicKey = createPublicKey(workshop.run(...certificate, '-pubkey'))
  const identifier = workshop.run(...certificate, '-ext', 'subjectKeyIdentifier').split('\n')[1]
  const commonName = der.sequence(der.objectIdentifier('2.5.4.3'), der.utf8String(name))
  return createHash('sha256')
    .update(der.sequence(der.set(commonName)))
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .update(Buffer.from(identifier?.replaceAll(/[:\s]/g, '') ?? '', 'hex'))
    .digest('hex')
}

const lowFiles = () => ({ 'tls.crt': low + root, 'tls.key': workshop.read('low.key') })

t.test('a leaf alone is issued, and the issuing CA alone is its anchor', async t => {
  const told: ReloadOutcome[] = []
  const { settings } = place(lowFiles())
  const authority = await openAuthority(
    settings,
    options({ onReload: outcome => told.push(outcome), clusterDomain: 'cluster.local' })
  )
  t.match(told, [{ loaded: true, warnings: [], description: { subject: 'CN=low' } }], 'told once')
  t.equal(authority.namesFrom, 'server', 'the server builds the names')
  const description = authority.describe()
  const sha256 = new X509Certificate(low).fingerprint256.replaceAll(':', '').toLowerCase()
  t.strictSame(
    description,
    {
      ...{ kind: 'pem', subject: 'CN=low', anchorSha256: sha256 },
      anchorKeySha256: nameAndKey('low'),
      notBefore: new Date(new X509Certificate(low).validFrom),
      notAfter: new Date(end)
    },
    'it is described'
  )
  for (const key of [
    podKey,
    (await makeKeyPair('P-384')).privateKey,
    (await makeKeyPair('RSA-2048')).privateKey
  ]) {
    const request = requestFor(key)
    const issued = await authority.issue(request)
    const leaf = new X509Certificate(issued.certificate)
    t.equal(issued.certificate.match(/BEGIN/g)?.length, 1, 'the leaf alone')
    t.equal(issued.trustAnchors, low, 'attack 52: the root is not handed out')
    t.equal(leaf.serialNumber.toLowerCase(), issued.serialNumber, 'its serial number')
    t.equal(Date.parse(leaf.validFrom), issued.notBefore.getTime(), 'its beginning')
    t.equal(Date.parse(leaf.validTo), issued.notAfter.getTime(), 'its end')
    t.equal(issued.notAfter.getTime(), now + 86_400_000, 'as long as asked')
    const expected = { publicKey: request.publicKey, names, now: new Date(now) }
    t.strictSame(
      checkLeaf(issued, { ...expected, maximumLifetimeSeconds: 86_400 }),
      [],
      'our check'
    )
    workshop.write('leaf.crt', issued.certificate)
    workshop.write('anchor.crt', issued.trustAnchors)
    const strictly = ['-x509_strict', '-partial_chain', '-CAfile', 'anchor.crt']
    const judged = workshop.judge('verify', ...strictly, '-attime', String(now / 1000), 'leaf.crt')
    t.ok(judged.ok, `openssl ${judged.output}`)
  }
  await authority.close()
})

t.test('every kind of CA key signs what openssl verifies', async t => {
  for (const kind of ['P-256', 'P-384', 'RSA-2048', 'RSA-4096', 'Ed25519'] as const) {
    const certificate = makeCa(workshop, 'kind', { kind })
    const { settings } = place({ 'tls.crt': certificate, 'tls.key': workshop.read('kind.key') })
    const authority = await openPemAuthority(settings, options({ clock: () => Date.now() + 1000 }))
    const issued = await authority.issue(requestFor(podKey))
    const leaf = new X509Certificate(issued.certificate)
    t.ok(leaf.verify(new X509Certificate(certificate).publicKey), `${kind}: node:crypto`)
    workshop.write('leaf.crt', issued.certificate)
    const strictly = ['-x509_strict', '-partial_chain', '-CAfile', 'kind.crt', 'leaf.crt']
    t.ok(workshop.judge('verify', ...strictly).ok, `${kind}: openssl`)
    await authority.close()
  }
})

t.test('attack 49, 50: dates stay within the chain', async t => {
  let time = now
  const { settings } = place(lowFiles())
  const authority = await openPemAuthority(settings, options({ clock: () => time }))
  const issue = (lifetimeSeconds = 90 * 86_400) =>
    authority.issue(requestFor(podKey, { lifetimeSeconds }))
  t.equal((await issue()).notAfter.getTime(), end, 'a long life ends with the chain')
  t.equal((await issue()).notBefore.getTime(), begin, 'and begins no earlier than the chain')
  time = begin + 24 * hourMs + 123
  t.equal((await issue()).notBefore.getTime(), begin + 24 * hourMs - 300_000, 'five minutes ago')
  time = end - hourMs
  t.equal((await issue()).notAfter.getTime(), end, 'one hour before the end is the last moment')
  time = end - hourMs + 1
  await t.rejects(issue(), { code: 'Invalid' }, 'less than an hour is refused')
  t.equal((await issue(60)).notAfter.getTime(), end - hourMs + 60_000, 'unless no more was asked')
  time = end + 1
  await t.rejects(issue(60), { code: 'Invalid' }, 'attack 49: an expired CA signs nothing')
  time = begin - 1
  await t.rejects(issue(), { code: 'Invalid' }, 'attack 50: nor one from the future')
  await authority.close()
})

t.test('what the CA or gRPC does not allow is refused', async t => {
  const extensions = [...caExtensions, 'nameConstraints=critical,permitted;DNS:localhost']
  const certificate = makeCa(workshop, 'narrow', { extensions })
  const { settings } = place({ 'tls.crt': certificate, 'tls.key': workshop.read('narrow.key') })
  const clock = () => Date.now() + 1000
  const authority = await openPemAuthority(settings, options({ clock }))
  t.ok(await authority.issue(requestFor(podKey)), 'localhost is allowed')
  const foreign = { names: { ...names, dnsNames: ['localhost', 'head.team.svc'] } }
  await t.rejects(authority.issue(requestFor(podKey, foreign)), { code: 'Refused' }, 'another name')
  const { publicKey } = generateKeyPairSync('ed25519')
  const ed25519 = { publicKey: publicKey.export({ type: 'spki', format: 'der' }) }
  await t.rejects(
    authority.issue(requestFor(podKey, ed25519)),
    { code: 'Refused' },
    'attack 9: an Ed25519 key'
  )
  await authority.close()
  await t.rejects(
    openPemAuthority(settings, options({ clock, clusterDomain: 'cluster.local' })),
    { code: 'Invalid' },
    'attack 53: names of head services are not allowed'
  )
})

t.test('keys are read in every usual form', async t => {
  makeKey(workshop, 'rsa', 'RSA-2048')
  const forms: Record<string, [string, string?]> = {}
  for (const [name, key] of [
    ['P-256', 'low'],
    ['RSA', 'rsa']
  ] as const) {
    forms[`${name} in PKCS#8`] = [workshop.read(`${key}.key`)]
    const traditional = ['pkey', '-in', `${key}.key`, '-traditional']
    forms[`${name} in SEC1 or PKCS#1`] = [workshop.run(...traditional)]
    const cipher = ['-aes256', '-passout', 'pass:let me in']
    forms[`${name} encrypted`] = [
      workshop.run('pkcs8', '-topk8', '-in', `${key}.key`, '-v2', 'aes256', ...cipher.slice(1)),
      'let me in'
    ]
    forms[`${name} encrypted as of old`] = [workshop.run(...traditional, ...cipher), 'let me in']
  }
  const message = Buffer.from('message')
  for (const [what, [pem, passphrase]] of Object.entries(forms)) {
    const key = openPemKey(pem, passphrase)
    t.ok((await key.sign(message)).length > 60, `${what} signs`)
    if (passphrase === undefined) continue
    t.throws(() => openPemKey(pem), { code: 'Invalid' }, `${what} without its passphrase`)
    t.throws(() => openPemKey(pem, 'let me out'), { code: 'Invalid' }, `${what} with another one`)
  }
  for (const kind of ['P-521', 'secp256k1', 'RSA-PSS'] as const) {
    const pem = workshop.read(makeKey(workshop, 'odd', kind))
    t.throws(() => openPemKey(pem), { code: 'Invalid' }, `${kind} is refused`)
  }
  t.throws(() => openPemKey('nothing'), { code: 'Invalid' }, 'no key')
})

t.test('attack 51: no message quotes the key or the passphrase', async t => {
  const pem = workshop.run(
    ...['pkcs8', '-topk8', '-in', 'low.key', '-v2', 'aes256', '-passout', 'pass:let me in']
  )
  const secret = createPrivateKey(workshop.read('low.key')).export({ format: 'jwk' }).d ?? ''
  const { settings, directory } = place({ 'tls.crt': low, 'tls.key': pem, pass: 'let me in\n' })
  const passphraseFile = join(directory, 'pass')
  const authority = await openPemAuthority({ ...settings, passphraseFile }, options())
  t.ok(await authority.issue(requestFor(podKey)), 'the passphrase opens the key')
  await authority.close()
  const broken = place({ 'tls.crt': low, 'tls.key': pem.replace('MI', 'MA'), pass: 'let me out' })
  const messages: string[] = []
  for (const passphrase of [undefined, join(broken.directory, 'pass')]) {
    await openPemAuthority({ ...broken.settings, passphraseFile: passphrase }, options()).catch(
      (error: Error) => messages.push(error.message, String((error.cause as Error)?.message))
    )
  }
  t.equal(messages.length, 4, 'both were refused')
  for (const message of messages) {
    const quoted = [secret, 'let me', ...pem.split('\n').slice(1, -2)].filter(text =>
      message.includes(text)
    )
    t.strictSame(quoted, [], message)
  }
})

t.test(
  'files that are missing, open to others or do not belong together are told apart',
  async t => {
    const missing = place({ 'tls.crt': low })
    await t.rejects(
      openPemAuthority(missing.settings, options()),
      { code: 'Invalid', message: /tls\.key.*ENOENT/ },
      'no key'
    )
    const mismatch = place({ 'tls.crt': low + root, 'tls.key': workshop.read('root.key') })
    await t.rejects(
      openPemAuthority(mismatch.settings, options()),
      { code: 'Invalid', message: /does not belong/ },
      'the key of another certificate'
    )
    const kindless = { kind: 'other', certificateFile: '', privateKeyFile: '' } as unknown
    await t.rejects(
      openAuthority(kindless as Parameters<typeof openAuthority>[0], options()),
      { code: 'Invalid' },
      'a kind that does not exist'
    )
    const { settings } = place(lowFiles())
    chmodSync(settings.privateKeyFile, 0o644)
    const told: ReloadOutcome[] = []
    const opened = await openPemAuthority(
      settings,
      options({ onReload: outcome => told.push(outcome) })
    )
    const [outcome] = told
    t.match(outcome, { loaded: true, warnings: [/open to every user/] }, 'attack 51: a warning')
    await opened.close()
  }
)

t.test('a new CA is taken, and a bad one leaves the old one at work', async t => {
  const told: ReloadOutcome[] = []
  let time = now
  const { settings } = place(lowFiles())
  const authority = await openPemAuthority(
    settings,
    options({ clock: () => time, onReload: outcome => told.push(outcome) })
  )
  const subject = () => authority.describe().subject
  const put = (files: { certificate?: string; key?: string }) => {
    if (files.certificate !== undefined) writeFileSync(settings.certificateFile, files.certificate)
    if (files.key !== undefined) writeFileSync(settings.privateKeyFile, files.key)
  }
  t.equal(await authority.reload(), undefined, 'nothing has changed')

  const next = makeCa(workshop, 'next')
  time = Date.now() + 2000
  put({ certificate: next })
  t.match(
    await authority.reload(),
    { loaded: false },
    'the certificate without its key is not taken'
  )
  t.equal(subject(), 'CN=low', 'the old one goes on')
  t.equal((await authority.issue(requestFor(podKey))).trustAnchors, low, 'and signs')
  t.equal(await authority.reload(), undefined, 'the same problem is told once')
  put({ key: workshop.read('next.key') })
  t.match(await authority.reload(), { loaded: true, description: { subject: 'CN=next' } }, 'whole')
  t.equal((await authority.issue(requestFor(podKey))).trustAnchors, next, 'the new one signs')

  for (const [what, certificate] of [
    ['damaged', 'junk'],
    ['no CA', makeCa(workshop, 'bad', { extensions: ['basicConstraints=CA:FALSE'] })],
    [
      'attack 53: constrained to addresses',
      makeCa(workshop, 'bad', {
        extensions: [...caExtensions, 'nameConstraints=permitted;IP:10.0.0.0/255.0.0.0']
      })
    ]
  ] as const) {
    put({ certificate, key: workshop.read('bad.key') })
    t.match(await authority.reload(), { loaded: false }, what)
    t.equal(subject(), 'CN=next', `${what}: the old one goes on`)
  }
  unlinkSync(settings.certificateFile)
  t.match(await authority.reload(), { loaded: false, reason: /ENOENT/ }, 'the file is gone')
  put({ certificate: next, key: workshop.read('next.key') })
  t.match(await authority.reload(), { loaded: true }, 'what was in use is back, and that is told')
  t.equal(await authority.reload(), undefined, 'once')

  const future = makeCa(workshop, 'future')
  put({ certificate: future, key: workshop.read('future.key') })
  time = now - 24 * hourMs
  t.match(await authority.reload(), { loaded: false, reason: /not valid before/ }, 'not valid yet')
  time = Date.now() + 2000
  t.match(await authority.reload(), { loaded: true }, 'taken when its time has come')
  t.equal(told.filter(({ loaded }) => loaded).length, 4, 'every change was told')
  await authority.close()
})

t.test('a Secret whose symbolic link is swapped is noticed without being asked', async t => {
  const first = place(lowFiles())
  const swapped = makeCa(workshop, 'swapped')
  const second = place({ 'tls.crt': swapped, 'tls.key': workshop.read('swapped.key') })
  const mount = place({})
  symlinkSync(first.directory, join(mount.directory, '..data'))
  symlinkSync('..data/tls.crt', mount.settings.certificateFile)
  symlinkSync('..data/tls.key', mount.settings.privateKeyFile)
  // The authority's own timer does not keep a program running.
  const awake = setTimeout(() => {}, 60_000)
  t.teardown(() => clearTimeout(awake))
  const taken = new EventEmitter()
  const promise = once(taken, 'CN=swapped')
  const authority = await openAuthority(mount.settings, {
    clock: () => Date.now() + 2000,
    random: randomBytes,
    pollMs: 5,
    onReload(outcome) {
      if (outcome.loaded) taken.emit(outcome.description.subject)
    }
  })
  symlinkSync(second.directory, join(mount.directory, '..new'))
  renameSync(join(mount.directory, '..new'), join(mount.directory, '..data'))
  await promise
  await authority.close()
  const issued = await authority.issue(requestFor(podKey))
  t.equal(issued.trustAnchors, swapped, 'it signs with the new one, also after close')
})

t.test('the random source decides the serial number', async t => {
  const { settings } = place(lowFiles())
  const random = (size: number) => new Uint8Array(size).fill(0x80)
  const authority = await openPemAuthority(settings, options({ random }))
  const { serialNumber, certificate } = await authority.issue(requestFor(podKey))
  t.equal(serialNumber, '80'.repeat(16), 'attack 48: all 128 bits come from it')
  t.equal(new X509Certificate(certificate).serialNumber, '80'.repeat(16), 'and stand there')
  t.ok(der.unsignedInteger(Buffer.from(serialNumber, 'hex')).length === 19, 'as a positive number')
  await authority.close()
})
