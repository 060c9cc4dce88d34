import { createHash, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createAuthorityCertificate } from '../../src/x509/ca.ts'
import { type Certificate, nameConstraintsOf, readCertificate } from '../../src/x509/certificate.ts'
import { fingerprint, pathFrom, readChain } from '../../src/x509/chain.ts'
import { makeKeyPair } from '../../src/x509/new-key.ts'
import { encodePem, readSinglePem } from '../../src/x509/pem.ts'
import { caExtensions, makeCa, makeKey, openWorkshop } from './openssl.ts'

const workshop = openWorkshop(t)
const soon = (hours = 0) => new Date(Date.now() + 1000 + hours * 3_600_000)

const [, ...withoutConstraints] = caExtensions

/** Codes of the checks that failed. */
function failed(pem: string, options: { now?: Date; clusterDomain?: string } = {}): string[] {
  const reading = readChain(pem, { now: soon(), ...options })
  const codes = reading.checks
    .filter(({ problem }) => problem !== undefined)
    .map(({ code }) => code)
  t.equal(reading.usable, codes.length === 0, 'usable means that no check has failed')
  return codes
}

const root = makeCa(workshop, 'root', { days: 800 })
const middle = makeCa(workshop, 'middle', { issuer: 'root', days: 100 })
const low = makeCa(workshop, 'low', { issuer: 'middle', days: 200, kind: 'P-384' })

t.test('a chain is put in order and described', async t => {
  for (const pem of [
    low + middle + root,
    root + middle + low,
    middle + low + root,
    low + low + middle + root
  ]) {
    const reading = readChain(`a comment\n${pem}`, { now: soon(), clusterDomain: 'cluster.local' })
    if (!reading.usable) return t.fail(JSON.stringify(reading.checks))
    const { chain } = reading
    const judge = new X509Certificate(low)
    t.equal(chain.subject, 'CN=low', 'the lowest issues')
    t.strictSame(
      chain.certificates.map(({ der }) => encodePem('CERTIFICATE', der)),
      [low, middle, root],
      'each is followed by its issuer'
    )
    t.equal(chain.trustAnchor, low, 'the anchor is the issuing CA alone')
    t.equal(fingerprint(chain.issuing.der), judge.fingerprint256, 'as node:crypto prints it')
    t.equal(chain.anchorSha256, createHash('sha256').update(judge.raw).digest('hex'), 'its digest')
    t.equal(
      chain.notAfter.getTime(),
      Date.parse(new X509Certificate(middle).validTo),
      'earliest end'
    )
    t.ok(chain.notBefore.getTime() >= Date.parse(judge.validFrom), 'latest beginning')
    t.equal(chain.pathLength, undefined, 'no path length')
    const identifier = Buffer.from(chain.keyIdentifier ?? []).toString('hex')
    t.match(
      workshop.run('x509', '-in', 'low.crt', '-noout', '-ext', 'subjectKeyIdentifier'),
      identifier.toUpperCase().replace(/..(?=.)/g, '$&:'),
      'its key identifier'
    )
  }
  t.strictSame(failed(low), [], 'the issuing CA alone is enough')
})

t.test('every kind of key that a CA may have is taken, and no other', async t => {
  for (const kind of ['P-256', 'P-384', 'RSA-2048', 'RSA-4096', 'Ed25519'] as const) {
    t.strictSame(failed(makeCa(workshop, 'kind', { kind })), [], kind)
  }
  for (const kind of ['P-521', 'secp256k1', 'RSA-1024', 'RSA-2048 with e=3', 'RSA-PSS'] as const) {
    t.strictSame(failed(makeCa(workshop, 'kind', { kind })), ['Key'], kind)
  }
  const weak = makeCa(workshop, 'weak', { kind: 'RSA-1024' })
  const below = makeCa(workshop, 'below-weak', { issuer: 'weak' })
  t.strictSame(failed(below + weak), ['Key'], 'a weak key above the issuing CA')
  const wide = makeCa(workshop, 'wide-root', { kind: 'P-521', parameters: ['-sha512'] })
  const under = makeCa(workshop, 'under', { issuer: 'wide-root', parameters: ['-sha512'] })
  t.strictSame(failed(under + wide), [], 'a root with P-521 above it signs nothing for pods')
})

t.test('what is not one chain is refused', async t => {
  const other = makeCa(workshop, 'other')
  const imitation = makeCa(workshop, 'imitation', { subject: '/CN=middle' })
  const sha1 = makeCa(workshop, 'sha1', { issuer: 'root', parameters: ['-sha1'] })
  for (const [what, pem] of [
    ['a stranger', low + other],
    ['a gap', low + root],
    ['two CAs below one', low + makeCa(workshop, 'second', { issuer: 'middle' }) + middle],
    ['the same name with another key', low + imitation],
    ['signed with SHA-1', sha1 + root]
  ] as const) {
    t.strictSame(failed(pem), ['Order'], what)
  }
  for (const [what, pem] of [
    ['nothing', ''],
    ['a private key', low + workshop.read('low.key')],
    ['a damaged block', low.replace('MI', 'M!')],
    ['eleven certificates', Array.from({ length: 11 }, () => low).join('')],
    ['bytes that are no certificate', encodePem('CERTIFICATE', Uint8Array.of(0x30, 0))]
  ] as const) {
    t.strictSame(failed(pem), ['Readable'], what)
  }
})

t.test('a CA that may not issue, or only for other purposes, is refused', async t => {
  for (const [what, extensions, codes] of [
    ['no CA', ['basicConstraints=critical,CA:FALSE', ...withoutConstraints], ['Authority']],
    ['no basic constraints', withoutConstraints, ['Authority']],
    ['no keyCertSign', ['basicConstraints=CA:TRUE', 'keyUsage=digitalSignature'], ['KeyUsage']],
    ['no key usage at all', ['basicConstraints=critical,CA:TRUE'], []],
    ['for mail only', [...caExtensions, 'extendedKeyUsage=emailProtection'], ['Purposes']],
    ['for servers only', [...caExtensions, 'extendedKeyUsage=serverAuth'], ['Purposes']],
    ['for both', [...caExtensions, 'extendedKeyUsage=serverAuth,clientAuth'], []],
    ['for anything', [...caExtensions, 'extendedKeyUsage=anyExtendedKeyUsage'], []],
    ['something unknown', [...caExtensions, '1.2.3.4=critical,ASN1:UTF8:x'], ['CriticalExtension']],
    ['a policy', [...caExtensions, 'certificatePolicies=critical,1.2.3.4'], []]
  ] as const) {
    const pem = makeCa(workshop, 'bent', { extensions: [...extensions] })
    t.strictSame(failed(pem), codes, what)
  }
  for (const [what, usage, taken] of [
    ['for anything', 'anyExtendedKeyUsage', false],
    ['for anything and both', 'anyExtendedKeyUsage,serverAuth,clientAuth', true],
    ['for both', 'serverAuth,clientAuth', true]
  ] as const) {
    const wide = makeCa(workshop, 'wide', {
      extensions: [...caExtensions, `extendedKeyUsage=${usage}`]
    })
    const leaf = ['basicConstraints=CA:FALSE', 'keyUsage=digitalSignature']
    makeCa(workshop, 'below-wide', { issuer: 'wide', extensions: leaf })
    const { chain } = readChain(wide, { now: soon() })
    t.equal(chain?.warnings.length, taken ? 0 : 1, `${what}: a warning where others fail`)
    const judged = ['verify', '-purpose', 'sslserver', '-CAfile', 'wide.crt', 'below-wide.crt']
    t.equal(workshop.judge(...judged).ok, taken, `${what}: openssl is one of them`)
  }
  const short = makeCa(workshop, 'short', {
    extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', ...withoutConstraints]
  })
  t.strictSame(failed(short), [], 'a path length of 0 is enough for the issuing CA')
  const below = makeCa(workshop, 'below', { issuer: 'short' })
  t.strictSame(failed(below + short), ['PathLength'], 'and not for one above it')
})

t.test('attack 49, 50: an expired CA and one from the future are refused, anywhere', async t => {
  t.strictSame(failed(low + middle + root, { now: soon(101 * 24) }), ['Dates'], 'expired above')
  t.strictSame(failed(low, { now: soon(201 * 24) }), ['Dates'], 'expired itself')
  t.strictSame(failed(low, { now: soon(-24) }), ['Dates'], 'not valid yet')
})

t.test('attack 53: a CA that gRPC cannot use is refused at load', async t => {
  const constrained = (...constraints: string[]) =>
    makeCa(workshop, 'constrained', {
      extensions: [...caExtensions, `nameConstraints=critical,${constraints.join(',')}`]
    })
  const clusterDomain = 'cluster.local'
  for (const [what, constraints, codes] of [
    ['permitted addresses', ['permitted;IP:10.0.0.0/255.0.0.0'], ['AddressConstraints']],
    ['excluded addresses', ['excluded;IP:fd00::/ffff::'], ['AddressConstraints']],
    ['not localhost', ['permitted;DNS:cluster.local'], ['NameConstraints']],
    ['not the cluster', ['permitted;DNS:localhost'], ['NameConstraints']],
    ['both', ['permitted;DNS:localhost', 'permitted;DNS:cluster.local'], []],
    ['both with a dot', ['permitted;DNS:localhost', 'permitted;DNS:.cluster.local'], []],
    ['localhost excluded', ['excluded;DNS:localhost'], ['NameConstraints']],
    ['services excluded', ['excluded;DNS:svc.cluster.local'], ['NameConstraints']],
    ['something else excluded', ['excluded;DNS:example.com'], []],
    ['mail only', ['permitted;email:example.com'], []]
  ] as const) {
    const pem = constrained(...constraints)
    t.strictSame(failed(pem, { clusterDomain }), codes, what)
  }
  t.strictSame(failed(constrained('permitted;DNS:localhost')), [], 'without a cluster domain')
  const above = makeCa(workshop, 'above', {
    extensions: [...caExtensions, 'nameConstraints=critical,permitted;IP:10.0.0.0/255.0.0.0']
  })
  const below = makeCa(workshop, 'below-constrained', { issuer: 'above' })
  t.strictSame(failed(below + above), ['AddressConstraints'], 'anywhere in the chain')
  const names = Array.from({ length: 900 }, (_, at) => `DNS:name-${at}`).join(',')
  const large = makeCa(workshop, 'large', {
    extensions: [...caExtensions, `subjectAltName=${names}`]
  })
  t.strictSame(failed(large), ['Size'], 'more than 8000 bytes')
})

t.test('name constraints are read as openssl wrote them', async t => {
  const extension = 'nameConstraints=permitted;DNS:A.b,permitted;email:x.y,excluded;DNS:c.a.b'
  const pem = makeCa(workshop, 'names', { extensions: [...caExtensions, extension] })
  const certificate = readCertificate(readSinglePem(pem, 'CERTIFICATE') ?? randomBytes(1))
  t.strictSame(
    nameConstraintsOf(certificate),
    { permittedDns: ['a.b'], excludedDns: ['c.a.b'], hasAddresses: false },
    'in lower case'
  )
  const reading = readChain(pem, { now: soon() })
  for (const [name, allowed] of [
    ['a.b', true],
    ['x.a.b', true],
    ['xa.b', false],
    ['c.a.b', false],
    ['x.c.a.b', false],
    ['b', false]
  ] as const) {
    t.equal(
      reading.chain?.permits(name),
      allowed,
      `${name} ${allowed ? 'may' : 'may not'} be certified`
    )
  }
})

t.test('no damage to a CA certificate crashes the reader', async t => {
  const pem = makeCa(workshop, 'fuzzed', {
    extensions: [...caExtensions, 'nameConstraints=critical,permitted;DNS:localhost']
  })
  const original = readSinglePem(pem, 'CERTIFICATE') ?? randomBytes(1)
  const crashes = () =>
    fc.assert(
      fc.property(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), (at, value) => {
        const bytes = Buffer.from(original)
        bytes[at] = (bytes[at] ?? 0) ^ value
        readChain(encodePem('CERTIFICATE', bytes), { now: soon() })
        return true
      }),
      { numRuns: 400 }
    )
  t.doesNotThrow(crashes, 'each answer is a value')
})

t.test('CAs that we make pass our own check and that of openssl', async t => {
  const dates = { notBefore: soon(-1), notAfter: soon(24 * 3650) }
  const commonName = 'Team "A", O=x + CN=y'
  for (const kind of ['P-256', 'P-384', 'RSA-2048'] as const) {
    const rootKeys = await makeKeyPair(kind)
    const above = { commonName: 'Above', keys: rootKeys }
    const top = await createAuthorityCertificate({
      ...above,
      pathLength: 2,
      serialNumber: randomBytes(16),
      ...dates
    })
    const ca = await createAuthorityCertificate({
      commonName,
      keys: await makeKeyPair(kind),
      pathLength: 1,
      serialNumber: Buffer.concat([Buffer.of(0xff), randomBytes(15)]),
      ...dates,
      issuer: above
    })
    t.strictSame(failed(ca + top, { clusterDomain: 'cluster.local' }), [], `${kind}: ours`)
    workshop.write('top.crt', top)
    workshop.write('ca.crt', ca)
    const verified = workshop.judge('verify', '-x509_strict', '-CAfile', 'top.crt', 'ca.crt')
    t.ok(verified.ok, `${kind}: openssl, strictly ${verified.output}`)
    const judge = new X509Certificate(ca)
    t.same({ ...Object(judge.toLegacyObject().subject) }, { CN: commonName }, 'one common name')
    t.equal(judge.ca, true, 'node:crypto sees a CA')
    t.match(
      workshop.run('x509', '-in', 'ca.crt', '-noout', '-ext', 'basicConstraints,keyUsage'),
      /critical\s+CA:TRUE, pathlen:1[\s\S]*critical\s+Certificate Sign, CRL Sign/,
      'openssl sees what it may do'
    )
  }
  makeKey(workshop, 'ed', 'Ed25519')
  const keys = generateKeyPairSync('ed25519')
  const request = { commonName, keys, pathLength: 1, serialNumber: randomBytes(16), ...dates }
  await t.rejects(createAuthorityCertificate(request), TypeError, 'no Ed25519 CA is made')
})

t.test('a CA that was renewed with its key is not above itself', async t => {
  const dates = { notBefore: soon(-1), notAfter: soon(24 * 3650) }
  const [top, low] = [await makeKeyPair('P-256'), await makeKeyPair('P-256')]
  const ca = async (commonName: string, keys: typeof top, issuer?: typeof above, hours = 0) => {
    const pem = await createAuthorityCertificate({
      ...{ commonName, keys, pathLength: 3, serialNumber: randomBytes(16) },
      ...{ notBefore: soon(-24), notAfter: hours === 0 ? dates.notAfter : soon(hours) },
      ...(issuer && { issuer })
    })
    return readCertificate(readSinglePem(pem, 'CERTIFICATE') as Uint8Array)
  }
  const above = { commonName: 'Top', keys: top }
  const [former, renewed] = [await ca('Top', top), await ca('Top', top)]
  const [signing, again] = [await ca('Low', low, above), await ca('Low', low, above)]
  const other = await makeKeyPair('P-256')
  const beyond = await ca('Other', other)
  const cross = await ca('Top', top, { commonName: 'Other', keys: other })
  const [ended, sooner] = [await ca('Top', top, undefined, -1), await ca('Low', low, above, 9)]
  const [endedLow, endedBeyond] = [
    await ca('Low', low, above, -1),
    await ca('Other', other, undefined, -1)
  ]
  const endedCross = await ca('Top', top, { commonName: 'Other', keys: other }, -1)
  const found = [signing, former, renewed]
  const places = (lowest: Certificate) =>
    pathFrom(lowest, found, Date.now()).map(each => found.indexOf(each))
  t.strictSame(places(signing), [0, 1], 'one of both is')
  t.strictSame(places(former), [1])
  t.strictSame(places(renewed), [2])

  for (const [what, named, expected] of [
    ['a root', [signing, former, renewed], [signing, former]],
    ['the CA itself', [signing, again, former], [signing, former]],
    ['a root that signs', [renewed, former], [renewed]],
    ['a root that is cross-signed', [signing, former, cross, beyond], [signing, cross, beyond]],
    ['the same the other way round', [beyond, cross, former, signing], [signing, cross, beyond]],
    ['a root that has ended', [signing, ended, renewed], [signing, renewed]],
    ['a CA that has ended, or ends sooner', [endedLow, sooner, signing], [signing]],
    [
      'a cross-certificate that has ended',
      [signing, endedCross, former, beyond],
      [signing, former]
    ],
    ['one below a root that has ended', [signing, cross, former, endedBeyond], [signing, former]],
    ['two that have nothing to do with each other', [former, renewed, beyond], undefined]
  ] as const) {
    const pem = named.map(({ der }) => encodePem('CERTIFICATE', der)).join('')
    const reading = readChain(pem, { now: soon(), clusterDomain: 'cluster.local' })
    const ders = reading.usable ? reading.chain.certificates.map(({ der }) => der) : undefined
    t.strictSame(
      ders,
      expected?.map(({ der }) => der),
      `named twice: ${what}`
    )
  }
})
