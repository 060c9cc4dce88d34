import { createPrivateKey, createPublicKey, randomBytes, sign, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { signatureAlgorithmOf, signatureAlgorithms } from '../../src/x509/algorithms.ts'
import {
  basicConstraintsOf,
  extensionOids,
  keyIdentifierOf,
  keyUsageOf,
  namesOf,
  readCertificate
} from '../../src/x509/certificate.ts'
import { checkLeaf, createLeafCheck, type LeafExpectation } from '../../src/x509/check-leaf.ts'
import * as der from '../../src/x509/der.ts'
import {
  createLeafWriter,
  keyIdentifier,
  type Leaf,
  randomSerialNumber,
  serialNumberText
} from '../../src/x509/leaf.ts'
import { x509 } from '../../src/x509/library.ts'
import { type CertificateNames, canonicalNames } from '../../src/x509/names.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { encodePem, readSinglePem } from '../../src/x509/pem.ts'
import { caExtensions, type KeyKind, makeCa, makeKey, openWorkshop } from './openssl.ts'

const workshop = openWorkshop(t)
const names: CertificateNames = {
  dnsNames: ['localhost', 'raycluster-head-svc.team.svc.cluster.local'],
  ipAddresses: ['127.0.0.1', '::1', '10.1.2.3', 'fd00:1::7']
}
const hourMs = 3_600_000
const now = new Date(Math.floor(Date.now() / 1000) * 1000)

function publicKeyOf(name: string): Buffer {
  return createPublicKey(workshop.read(`${name}.key`)).export({ type: 'spki', format: 'der' })
}

/** Issues below the CA that openssl made. */
function issuerOf(name: string) {
  const key = createPrivateKey(workshop.read(`${name}.key`))
  const signatureAlgorithm = signatureAlgorithmOf(key) ?? signatureAlgorithms.ecdsaSha256
  const ca = readCertificate(
    readSinglePem(workshop.read(`${name}.crt`), 'CERTIFICATE') ?? key.export()
  )
  const identifier = ca.extensions.get(extensionOids.subjectKeyIdentifier)?.value
  const writer = createLeafWriter({
    subject: ca.subject,
    keyIdentifier: identifier && der.readElement(identifier).content,
    signatureAlgorithm
  })
  return (leaf: Leaf): Uint8Array => {
    const toBeSigned = writer.toBeSigned(leaf)
    return writer.certificate(toBeSigned, sign(signatureAlgorithm.hash, toBeSigned, key))
  }
}

function leafOf(key: string, changes: Partial<Leaf> = {}): Leaf {
  return {
    publicKey: publicKeyOf(key),
    keyAlgorithm: ({ p256: 'P-256', p384: 'P-384' } as const)[key] ?? 'RSA',
    names,
    serialNumber: randomSerialNumber(randomBytes),
    notBefore: new Date(Math.floor(Date.now() / 1000) * 1000),
    notAfter: new Date(now.getTime() + hourMs),
    ...changes
  }
}

const leafKeys = ['p256', 'p384', 'rsa']
makeKey(workshop, 'p256', 'P-256')
makeKey(workshop, 'p384', 'P-384')
makeKey(workshop, 'rsa', 'RSA-2048')
makeCa(workshop, 'ca')

t.test('openssl accepts every kind of key below every kind of CA, strictly', async t => {
  makeCa(workshop, 'root')
  const cas: [string, KeyKind, string | undefined][] = [
    ['ca-p256', 'P-256', undefined],
    ['ca-p384', 'P-384', undefined],
    ['ca-rsa2048', 'RSA-2048', undefined],
    ['ca-rsa4096', 'RSA-4096', undefined],
    ['ca-ed25519', 'Ed25519', undefined],
    ['ca-intermediate', 'P-256', 'root']
  ]
  for (const [ca, kind, issuer] of cas) {
    makeCa(workshop, ca, { kind, ...(issuer === undefined ? {} : { issuer }) })
    const issue = issuerOf(ca)
    for (const key of leafKeys) {
      const certificate = issue(leafOf(key))
      const file = workshop.write('leaf.crt', encodePem('CERTIFICATE', certificate))
      const strictly = ['verify', '-x509_strict', '-partial_chain', '-CAfile', `${ca}.crt`]
      for (const purpose of ['sslserver', 'sslclient']) {
        const { ok, output } = workshop.judge(...strictly, '-purpose', purpose, file)
        t.ok(ok, `${ca}, ${key}: ${purpose} ${ok ? '' : output}`)
      }
      const named = [
        ...names.dnsNames.map(name => ['-verify_hostname', name]),
        ...names.ipAddresses.map(address => ['-verify_ip', address])
      ]
      for (const name of named) {
        if (ca !== 'ca-p256') break
        t.ok(workshop.judge(...strictly, ...name, file).ok, `${key}: openssl finds ${name[1]}`)
      }
      t.notOk(workshop.judge(...strictly, '-verify_ip', '10.1.2.4', file).ok, 'and no other')
      const judge = new X509Certificate(certificate)
      t.ok(judge.verify(new X509Certificate(workshop.read(`${ca}.crt`)).publicKey), 'node:crypto')
      t.equal(judge.ca, false, 'node:crypto sees no CA')
      t.equal(judge.checkIP('fd00:1::7'), 'fd00:1::7', 'node:crypto finds the address')
    }
  }
})

t.test('openssl sees the fixed form', async t => {
  const text = (key: string) => {
    const certificate = issuerOf('ca')(leafOf(key))
    const file = workshop.write('leaf.crt', encodePem('CERTIFICATE', certificate))
    return workshop.run('x509', '-in', file, '-noout', '-text', '-nameopt', 'RFC2253')
  }
  const ec = text('p256')
  t.match(ec, /Version: 3/, 'version 3')
  t.match(ec, /Subject: *\n/, 'no subject')
  t.match(ec, /Basic Constraints: critical\s+CA:FALSE/, 'attack 7: never a CA')
  t.match(ec, /Key Usage: critical\s+Digital Signature\n/, 'signs handshakes only')
  t.match(
    ec,
    /Extended Key Usage: *\n\s+TLS Web Server Authentication, TLS Web Client Auth/,
    'both'
  )
  t.match(ec, /Alternative Name: critical/, 'the names are critical')
  t.match(text('rsa'), /Key Usage: critical\s+Digital Signature, Key Encipherment\n/, 'RSA')
})

t.test('the library and node:crypto read exactly what was asked for', async t => {
  const issue = issuerOf('ca')
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/)
  const dnsName = fc
    .array(label, { minLength: 1, maxLength: 4 })
    .map(parts => `${parts.join('.')}.x`)
  const ipAddress = fc.oneof(fc.ipV4(), fc.ipV6())
  const second = fc.integer({ min: -631_152_000, max: 253_402_300_799 })
  const borders = fc.constantFrom(
    Date.UTC(2049, 11, 31, 23, 59, 59) / 1000,
    Date.UTC(2050, 0, 1) / 1000,
    Date.UTC(2000, 1, 29) / 1000
  )
  const date = fc.oneof(second, borders).map(seconds => new Date(seconds * 1000))
  const serialNumber = fc
    .tuple(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.uint8Array({ minLength: 15, maxLength: 15 }))
    .map(([first, rest]) => Uint8Array.from([first, ...rest]))
    .filter(bytes => bytes.some(byte => byte !== 0))
  fc.assert(
    fc.property(
      fc.array(dnsName, { maxLength: 5 }),
      fc.array(ipAddress, { minLength: 1, maxLength: 5 }),
      date,
      date,
      serialNumber,
      fc.constantFrom(...leafKeys),
      (dnsNames, ipAddresses, notBefore, notAfter, serial, key) => {
        const asked = canonicalNames({ dnsNames, ipAddresses })
        fc.pre(asked !== undefined)
        const bytes = issue(
          leafOf(key, { names: asked, notBefore, notAfter, serialNumber: serial })
        )
        const library = new x509.X509Certificate(new Uint8Array(bytes))
        const extension = library.getExtension(x509.SubjectAlternativeNameExtension)
        const items = extension?.names.items ?? []
        const read = canonicalNames({
          dnsNames: items.flatMap(({ type, value }) => (type === 'dns' ? value : [])),
          ipAddresses: items.flatMap(({ type, value }) => (type === 'ip' ? value : []))
        })
        const node = new X509Certificate(bytes)
        const own = readCertificate(bytes)
        t.strictSame(read, asked, 'the library reads the names')
        t.equal(items.length, asked.dnsNames.length + asked.ipAddresses.length, 'and no more')
        t.strictSame(namesOf(own), asked, 'we read the names')
        t.equal(library.notBefore.getTime(), notBefore.getTime(), 'the library reads the beginning')
        t.equal(library.notAfter.getTime(), notAfter.getTime(), 'the library reads the end')
        t.equal(own.notAfter.getTime(), notAfter.getTime(), 'we read the end')
        t.equal(
          BigInt(`0x${library.serialNumber}`),
          BigInt(`0x${serialNumberText(serial)}`),
          'serial'
        )
        t.equal(node.serialNumber.toLowerCase(), serialNumberText(serial), 'attack 48: positive')
        t.strictSame(Buffer.from(library.publicKey.rawData), publicKeyOf(key), 'the key')
        t.ok(node.raw.equals(bytes), 'nothing is behind it')
      }
    ),
    { numRuns: 60 }
  )
})

t.test('attack 48: serial numbers have 128 bits of the random source', async t => {
  const asked: number[] = []
  const serial = randomSerialNumber(size => {
    asked.push(size)
    return new Uint8Array(size).fill(0xff)
  })
  t.strictSame(asked, [16], 'asked once for 16 bytes')
  t.equal(serialNumberText(serial), 'f'.repeat(32), 'all of them are used')
  t.equal(serialNumberText(Uint8Array.of(0, 0, 10)), '0a', 'as openssl prints it')
  t.throws(() => randomSerialNumber(size => new Uint8Array(size)), TypeError, 'a source of zeros')
  t.throws(() => randomSerialNumber(() => Uint8Array.of(1)), TypeError, 'a source that gives less')
})

t.test('names that are not canonical are a fault of the caller', async t => {
  const odd = { names: { dnsNames: [], ipAddresses: ['pod'] } }
  t.throws(() => issuerOf('ca')(leafOf('p256', odd)), TypeError, 'an odd address')
})

/** A leaf that openssl makes, for the checks. */
const goodExtensions = [
  'basicConstraints=critical,CA:FALSE',
  'keyUsage=critical,digitalSignature',
  'extendedKeyUsage=serverAuth,clientAuth',
  `subjectAltName=critical,${[
    ...names.dnsNames.map(name => `DNS:${name}`),
    ...names.ipAddresses.map(address => `IP:${address}`)
  ].join(',')}`
]

interface Bent {
  key?: string
  ca?: string
  subject?: string
  days?: number
  /** Replace the one with the same name; a name alone takes it away. */
  extensions?: string[]
}

function opensslLeaf({ key = 'p256', ca = 'ca', subject = '/', days = 1, extensions = [] }: Bent) {
  const named = (line: string) => line.split('=')[0]
  const kept = goodExtensions.filter(
    line => !extensions.some(other => named(other) === named(line))
  )
  const lines = [...kept, ...extensions.filter(line => line.includes('='))]
  workshop.write('bent.cnf', `[req]\ndistinguished_name=dn\n[dn]\n[ext]\n${lines.join('\n')}\n`)
  const request = ['-config', 'bent.cnf', '-key', `${key}.key`, '-subj', subject]
  workshop.run('req', '-new', ...request, '-out', 'bent.csr')
  const signer = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-days', String(days)]
  const extended = ['-extfile', 'bent.cnf', '-extensions', 'ext']
  workshop.run('x509', '-req', '-in', 'bent.csr', ...signer, ...extended, '-out', 'bent.crt')
  return workshop.read('bent.crt')
}

const expected = (changes: Partial<LeafExpectation> = {}): LeafExpectation => ({
  publicKey: publicKeyOf('p256'),
  names,
  // openssl dates certificates by its own clock, a moment ago.
  now: new Date(Date.now() + 1000),
  maximumLifetimeSeconds: 86_400,
  ...changes
})

const codes = (certificate: string, trustAnchors: string, changes?: Partial<LeafExpectation>) =>
  checkLeaf({ certificate, trustAnchors }, expected(changes)).map(({ code }) => code)

t.test('what we and openssl make well passes the check', async t => {
  const anchor = workshop.read('ca.crt')
  for (const key of leafKeys) {
    const own = encodePem('CERTIFICATE', issuerOf('ca')(leafOf(key)))
    t.strictSame(codes(own, anchor, { publicKey: publicKeyOf(key) }), [], `ours with ${key}`)
  }
  t.strictSame(codes(opensslLeaf({}), anchor), [], "openssl's")
  t.strictSame(codes(opensslLeaf({}) + anchor, anchor), [], 'with the anchor at the end')
  const other = makeCa(workshop, 'other')
  t.strictSame(codes(opensslLeaf({}), other + anchor), [], 'with two anchors')
  const now = Math.floor(Date.now() / 1000) * 1000
  const dates = { notBefore: new Date(now - 86_400_000), notAfter: new Date(now + 86_400_000) }
  const early = encodePem('CERTIFICATE', issuerOf('ca')(leafOf('p256', dates)))
  t.strictSame(codes(early, anchor), [], 'from before its CA, which is some seconds old')
  makeCa(workshop, 'twin', { subject: '/CN=ca' })
  const twins = workshop.read('twin.crt') + anchor
  t.strictSame(codes(opensslLeaf({}), twins), [], 'with a twin of the same name, by its signature')
  const check = createLeafCheck()
  for (let round = 0; round < 70; round++) {
    const anchors = `${anchor}${'\n'.repeat(round)}`
    const problems = check({ certificate: opensslOnce, trustAnchors: anchors }, expected())
    t.strictSame(problems, [], `with ${round} line breaks: more anchors than are remembered`)
  }
})
const opensslOnce = opensslLeaf({})

t.test('a certificate for a client outside the pods has no name and one purpose', async t => {
  const anchor = workshop.read('ca.crt')
  const none = { dnsNames: [], ipAddresses: [] }
  const changes = { purpose: 'client' as const, names: none }
  const ours = encodePem('CERTIFICATE', issuerOf('ca')(leafOf('p256', changes)))
  t.strictSame(codes(ours, anchor, changes), [])
  t.strictSame(codes(ours, anchor), ['Subject', 'Names', 'Names', 'ExtendedKeyUsage'], 'as a pod')
  const client: Bent = {
    subject: '/O=Rayguard/CN=Ray client',
    extensions: ['subjectAltName', 'extendedKeyUsage=clientAuth']
  }
  const cases: [string, Bent, string[]][] = [
    ["openssl's", client, []],
    ['attack 93: of a pod', {}, ['Subject', 'Names', 'ExtendedKeyUsage']],
    ['another subject', { ...client, subject: '/CN=Ray client' }, ['Subject']],
    ['no subject', { ...client, subject: '/' }, ['Subject']],
    ['one name twice', { ...client, subject: '/CN=Ray client/CN=Ray client' }, ['Subject']],
    ['a name', { ...client, extensions: ['extendedKeyUsage=clientAuth'] }, ['Names']],
    ['for servers too', { ...client, extensions: ['subjectAltName'] }, ['ExtendedKeyUsage']]
  ]
  for (const [what, bent, problems] of cases)
    t.strictSame(codes(opensslLeaf(bent), anchor, changes), problems, what)
})

t.test('every difference from what was asked for is found', async t => {
  const anchor = workshop.read('ca.crt')
  const sans = goodExtensions[3]?.replace('critical,', '') ?? ''
  const cases: [string, Bent, string[]][] = [
    ['another key', { key: 'p384' }, ['PublicKey']],
    ['attack 6: a common name', { subject: '/CN=victim' }, ['Subject']],
    [
      'attack 6: a name more',
      { extensions: [`subjectAltName=critical,${sans.slice(15)},DNS:x`] },
      ['Names']
    ],
    ['a name less', { extensions: ['subjectAltName=critical,DNS:localhost'] }, ['Names']],
    [
      'attack 6: a URI more',
      { extensions: [`subjectAltName=critical,${sans.slice(15)},URI:a:b`] },
      ['Names']
    ],
    [
      'a name twice',
      { extensions: [`subjectAltName=critical,${sans.slice(15)},DNS:localhost`] },
      ['Names']
    ],
    ['no names', { extensions: ['subjectAltName'] }, ['Names', 'Names']],
    ['names that are not critical', { extensions: [sans] }, ['Names']],
    ['attack 7: a CA', { extensions: ['basicConstraints=critical,CA:TRUE'] }, ['BasicConstraints']],
    [
      'attack 7: it may sign certificates',
      { extensions: ['keyUsage=digitalSignature,keyCertSign'] },
      ['KeyUsage']
    ],
    ['no key usage', { extensions: ['keyUsage'] }, ['KeyUsage']],
    ['a key that may not sign', { extensions: ['keyUsage=keyEncipherment'] }, ['KeyUsage']],
    ['server only', { extensions: ['extendedKeyUsage=serverAuth'] }, ['ExtendedKeyUsage']],
    ['client only', { extensions: ['extendedKeyUsage=clientAuth'] }, ['ExtendedKeyUsage']],
    [
      'attack 7: a purpose more',
      { extensions: ['extendedKeyUsage=serverAuth,clientAuth,codeSigning'] },
      ['ExtendedKeyUsage']
    ],
    ['no purpose', { extensions: ['extendedKeyUsage'] }, ['ExtendedKeyUsage']],
    [
      'an unknown critical extension',
      { extensions: ['1.2.3.4=critical,ASN1:UTF8:x'] },
      ['CriticalExtension']
    ],
    ['attack 7: too long a life', { days: 3 }, ['Lifetime']],
    ['attack 49: it outlives its CA', { days: 366 }, ['Lifetime', 'Dates']]
  ]
  for (const [what, bent, problems] of cases) {
    t.strictSame(codes(opensslLeaf(bent), anchor), problems, what)
  }
  const changed = `subjectAltName=critical,${sans.slice(15).replace(/DNS:localhost/, 'DNS:evil.example')}`
  t.match(
    checkLeaf(
      { certificate: opensslLeaf({ extensions: [changed] }), trustAnchors: anchor },
      expected()
    ),
    [{ code: 'Names', detail: /added evil\.example, missing localhost/ }],
    'which name is said'
  )
  t.strictSame(
    codes(opensslLeaf({ extensions: ['1.2.3.4=ASN1:UTF8:x'] }), anchor),
    [],
    'not critical'
  )
  t.strictSame(
    codes(opensslLeaf({ extensions: ['basicConstraints'] }), anchor),
    [],
    'none is no CA'
  )
  const good = opensslLeaf({})
  const early = { now: new Date(now.getTime() - hourMs) }
  t.strictSame(
    codes(good, anchor, early),
    ['Dates', 'Lifetime', 'Dates'],
    'attack 50: from the future, as is its issuer'
  )
  const late = { now: new Date(now.getTime() + 49 * hourMs) }
  t.strictSame(codes(good, anchor, late), ['Dates'], 'expired')
})

t.test('a path that does not lead from the leaf to an anchor in order is found', async t => {
  const root = makeCa(workshop, 'path-root')
  const middle = makeCa(workshop, 'path-middle', { issuer: 'path-root' })
  const low = makeCa(workshop, 'path-low', { issuer: 'path-middle' })
  makeCa(workshop, 'imitation', { subject: '/CN=path-low' })
  const leaf = opensslLeaf({ ca: 'path-low' })
  t.strictSame(codes(leaf, low), [], 'the lowest CA as anchor')
  t.strictSame(codes(leaf + low + middle, root), [], 'the whole path')
  t.strictSame(codes(leaf + low + middle + root, root), [], 'and the root')
  t.strictSame(codes(leaf + middle + low, root), ['Order', 'Order', 'Anchor'], 'in wrong order')
  t.strictSame(codes(leaf, root), ['Anchor'], 'without what is between')
  t.strictSame(codes(leaf, workshop.read('ca.crt')), ['Anchor'], 'an anchor of somebody else')
  t.strictSame(codes(leaf, workshop.read('imitation.crt')), ['Signature'], 'of the same name only')
  t.strictSame(codes(low + leaf, root).slice(0, 1), ['PublicKey'], 'the leaf is not the first')
  const sha1 = makeCa(workshop, 'path-sha1', { issuer: 'path-root', parameters: ['-sha1'] })
  t.strictSame(codes(opensslLeaf({ ca: 'path-sha1' }) + sha1, root), ['Signature'], 'SHA-1')

  const bentCa = (name: string, extensions: string[], days = 365) => {
    const certificate = makeCa(workshop, name, { extensions, days })
    return codes(opensslLeaf({ ca: name }), certificate)
  }
  const [, ...others] = caExtensions
  t.strictSame(
    bentCa('no-ca', ['basicConstraints=CA:FALSE', ...others]),
    ['IssuingCertificate'],
    'no CA'
  )
  t.strictSame(
    bentCa('no-sign', ['basicConstraints=critical,CA:TRUE', 'keyUsage=cRLSign']),
    ['IssuingCertificate'],
    'a CA that may not sign'
  )
  t.strictSame(bentCa('no-usage', ['basicConstraints=CA:TRUE']), [], 'a CA without key usage')
  t.strictSame(
    bentCa('addresses', [
      ...caExtensions,
      'nameConstraints=critical,permitted;IP:10.0.0.0/255.0.0.0'
    ]),
    ['AddressConstraints'],
    'attack 53: constraints on addresses'
  )
  const short = makeCa(workshop, 'short', {
    extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', ...others]
  })
  const below = makeCa(workshop, 'below', { issuer: 'short' })
  t.strictSame(
    codes(opensslLeaf({ ca: 'below' }) + below, short),
    ['IssuingCertificate'],
    'path length'
  )
  t.strictSame(codes(opensslLeaf({ ca: 'short' }), short), [], 'path length 0 is enough for a leaf')
  const wide = makeCa(workshop, 'wide', {
    issuer: 'path-root',
    extensions: [
      ...caExtensions,
      `subjectAltName=${Array.from({ length: 900 }, (_, at) => `DNS:name-${at}`)}`
    ]
  })
  t.strictSame(
    codes(opensslLeaf({ ca: 'wide' }) + wide, root),
    ['ChainTooLarge'],
    'attack 53: more than gRPC can send'
  )
})

t.test('a certificate that names another certificate of its CA is found', async t => {
  const anchor = makeCa(workshop, 'renewed')
  const sameKey = ['-in', 'renewed.csr', '-key', 'renewed.key', '-days', '365']
  const extended = ['-extfile', 'renewed.cnf', '-extensions', 'ext']
  workshop.run('x509', '-req', ...sameKey, ...extended, '-out', 'former.crt')
  const read = (name: string) =>
    readCertificate(readSinglePem(workshop.read(`${name}.crt`), 'CERTIFICATE') ?? Buffer.of())
  const [ca, former, other] = ['renewed', 'former', 'ca'].map(read)
  if (!ca || !former || !other) throw new Error('there are three')
  const named = (...parts: Uint8Array[]) =>
    `authorityKeyIdentifier=DER:${Buffer.from(der.sequence(...parts)).toString('hex')}`
  const context = (number: number, bytes: Uint8Array) =>
    der.element(der.contextTag(number, 'primitive'), bytes)
  const names = (...parts: Uint8Array[]) => der.element(der.contextTag(1, 'constructed'), ...parts)
  const directory = (name: Uint8Array) => der.element(der.contextTag(4, 'constructed'), name)
  const serial = ({ serialNumber }: typeof ca) =>
    // Implicitly tagged: what an INTEGER holds.
    context(2, der.readElement(der.unsignedInteger(serialNumber)).content)
  const uri = context(6, Buffer.from('a:b'))
  const by = 'AuthorityKeyIdentifier'
  const cases: [string, string, string[]][] = [
    ['nothing', 'authorityKeyIdentifier', []],
    ['its key', named(context(0, keyIdentifierOf(ca) ?? serial(ca))), []],
    ['its certificate', 'authorityKeyIdentifier=issuer:always', []],
    ['both', 'authorityKeyIdentifier=keyid,issuer:always', []],
    ['its serial number alone', named(serial(ca)), []],
    ['a name of another kind', named(names(uri), serial(ca)), []],
    ['attack 53: another key', named(context(0, keyIdentifierOf(other) ?? serial(ca))), [by]],
    ['attack 53: a former one', named(names(directory(ca.subject)), serial(former)), [by]],
    ['attack 53: a former one without its name', named(serial(former)), [by]],
    ['attack 53: of another CA', named(names(uri, directory(other.subject)), serial(ca)), [by]],
    [
      'attack 53: its key and a former one',
      named(context(0, keyIdentifierOf(ca) ?? serial(ca)), serial(former)),
      [by]
    ],
    ['nothing that can be read', 'authorityKeyIdentifier=DER:040100', ['Malformed']]
  ]
  for (const [what, extension, problems] of cases) {
    const leaf = opensslLeaf({ ca: 'renewed', extensions: [extension] })
    t.strictSame(codes(leaf, anchor), problems, what)
    const partial = ['verify', '-partial_chain', '-CAfile', 'renewed.crt', 'bent.crt']
    t.equal(workshop.judge(...partial).ok, problems.length === 0, `${what}: openssl says the same`)
  }
  const ours = encodePem('CERTIFICATE', issuerOf('renewed')(leafOf('p256')))
  for (const name of ['renewed', 'former'])
    t.strictSame(codes(ours, workshop.read(`${name}.crt`)), [], 'ours names the key alone')
})

t.test('damaged certificates and texts are problems and never crash the check', async t => {
  const good = opensslLeaf({})
  const anchor = workshop.read('ca.crt')
  const key = workshop.read('p256.key')
  for (const [what, certificate, anchors] of [
    ['nothing', '', anchor],
    ['no anchor', good, ''],
    ['a key in the chain', good + key, anchor],
    ['a damaged block', good.replace('MI', 'M!'), anchor],
    ['eleven certificates', good.repeat(11), anchor],
    ['a damaged anchor', good, anchor.replace('MI', 'MM')]
  ] as const) {
    t.strictSame(codes(certificate, anchors), ['Malformed'], what)
  }
  const original = Buffer.from(readSinglePem(good, 'CERTIFICATE') ?? [])
  fc.assert(
    fc.property(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), (at, value) => {
      const bytes = Buffer.from(original)
      bytes[at] = (bytes[at] ?? 0) ^ value
      return codes(encodePem('CERTIFICATE', bytes), anchor).length > 0
    }),
    { numRuns: 400 }
  )
  fc.assert(
    fc.property(fc.nat(original.length - 1), fc.uint8Array({ maxLength: 4 }), (at, more) => {
      const parts = [original.subarray(0, at), more, original.subarray(at + 1)]
      const pem = encodePem('CERTIFICATE', Buffer.concat(parts))
      return codes(pem, anchor).length > 0 || pem === good
    }),
    { numRuns: 200 }
  )
})

t.test(
  'the reader of certificates refuses structures that are not as RFC 5280 has them',
  async t => {
    const { publicKey, privateKey } = makeKeyPairSync()
    const spki = publicKey.export({ type: 'spki', format: 'der' })
    const algorithm = signatureAlgorithms.ecdsaSha256.identifier
    const version = der.element(0xa0, der.unsignedInteger(Uint8Array.of(2)))
    const serial = der.unsignedInteger(Uint8Array.of(1))
    const validity = der.sequence(der.time(now), der.time(now))
    const extension = der.sequence(der.objectIdentifier('1.2.3'), der.octetString())
    const fields = (...extensions: Uint8Array[]) => [
      version,
      serial,
      algorithm,
      der.sequence(),
      validity,
      der.sequence(),
      spki,
      der.element(0xa3, der.sequence(...extensions))
    ]
    const read = (parts: Uint8Array[], outer = algorithm, ...more: Uint8Array[]) => {
      const toBeSigned = der.sequence(...parts)
      const signature = der.bitString(sign('sha256', toBeSigned, privateKey))
      return readCertificate(der.sequence(toBeSigned, outer, signature, ...more))
    }
    const replaced = (at: number, part: Uint8Array) => fields(extension).with(at, part)
    t.equal(read(fields(extension)).extensions.size, 1, 'the form itself is read')
    t.equal(read(fields(extension).slice(0, 7)).extensions.size, 0, 'without extensions')
    t.equal(keyUsageOf(read(fields(extension))), undefined, 'no key usage')
    const constraints = (...parts: Uint8Array[]) =>
      basicConstraintsOf(
        read(
          fields(
            der.sequence(
              der.objectIdentifier('2.5.29.19'),
              der.element(1, Uint8Array.of(0)),
              der.octetString(der.sequence(...parts))
            )
          )
        )
      )
    const huge = der.unsignedInteger(Uint8Array.of(1, 0))
    t.strictSame(
      constraints(der.booleanTrue(), huge),
      { isAuthority: true, pathLength: undefined },
      'FALSE may be written for critical, and a huge path length is none'
    )
    const refused: [string, () => unknown][] = [
      ['an empty certificate', () => readCertificate(der.sequence())],
      ['a fourth part', () => read(fields(extension), algorithm, der.nullValue())],
      [
        'another algorithm outside',
        () => read(fields(extension), signatureAlgorithms.ecdsaSha384.identifier)
      ],
      [
        'version 2',
        () => read(replaced(0, der.element(0xa0, der.unsignedInteger(Uint8Array.of(1)))))
      ],
      [
        'a serial number of 21 bytes',
        () => read(replaced(1, der.element(2, new Uint8Array(21).fill(1))))
      ],
      ['a negative serial number', () => read(replaced(1, der.element(2, Uint8Array.of(0x80))))],
      ['a validity of one time', () => read(replaced(4, der.sequence(der.time(now))))],
      ['missing fields', () => read(fields().slice(0, 5))],
      ['a subject that is no name', () => read(replaced(5, der.nullValue()))],
      ['the same extension twice', () => read(fields(extension, extension))],
      [
        'an extension without value',
        () => read(fields(der.sequence(der.objectIdentifier('1.2.3'))))
      ]
    ]
    for (const [what, make] of refused) t.throws(make, { code: 'DerMalformed' }, what)
    t.equal(keyIdentifier(spki).length, 20, 'key identifiers have 160 bits')
  }
)
