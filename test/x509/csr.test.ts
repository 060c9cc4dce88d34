import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { signatureAlgorithms } from '../../src/x509/algorithms.ts'
import { readCertificateRequest } from '../../src/x509/csr.ts'
import * as der from '../../src/x509/der.ts'
import { x509 } from '../../src/x509/library.ts'
import { makeKeyPair, makeKeyPairSync } from '../../src/x509/new-key.ts'
import { encodePem } from '../../src/x509/pem.ts'
import { readPublicKey } from '../../src/x509/public-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { type KeyKind, makeKey, openWorkshop, type Workshop } from './openssl.ts'

const workshop = openWorkshop(t)
for (const [name, kind] of [
  ['p256', 'P-256'],
  ['p384', 'P-384'],
  ['rsa', 'RSA-2048'],
  ['rsa4096', 'RSA-4096']
] as const) {
  makeKey(workshop, name, kind)
}

interface Asked {
  key?: string
  subject?: string
  extensions?: string[]
  /** Lines of other sections. */
  sections?: string[]
  parameters?: string[]
}

/** What `openssl req` makes of it. */
function ask(at: Workshop, asked: Asked): string {
  const extensions = asked.extensions
  at.write(
    'asked.cnf',
    [
      '[req]',
      'distinguished_name=dn',
      ...(extensions ? ['req_extensions=ext'] : []),
      '[dn]',
      ...(extensions ? ['[ext]', ...extensions] : []),
      ...(asked.sections ?? [])
    ].join('\n')
  )
  at.run(
    'req',
    '-new',
    '-config',
    'asked.cnf',
    '-subj',
    asked.subject ?? '/',
    '-key',
    `${asked.key ?? 'p256'}.key`,
    ...(asked.parameters ?? []),
    '-out',
    'asked.csr'
  )
  return at.read('asked.csr')
}

const codeOf = (pem: string) => {
  const read = readCertificateRequest(pem)
  return read.allowed ? 'allowed' : read.code
}

/** A request with parts of our choice, signed by the key whatever they are. */
function forge(
  key: KeyObject,
  parts: {
    version?: number
    publicKey?: Uint8Array
    attributes?: Uint8Array[]
    algorithm?: Uint8Array
    after?: Uint8Array[]
  } = {}
): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const information = der.sequence(
    der.unsignedInteger(Uint8Array.of(parts.version ?? 0)),
    der.sequence(),
    parts.publicKey ?? spki,
    der.element(0xa0, ...(parts.attributes ?? [])),
    ...(parts.after ?? [])
  )
  const signature = sign('sha256', information, key)
  const algorithm = parts.algorithm ?? signatureAlgorithms.ecdsaSha256.identifier
  const request = der.sequence(information, algorithm, der.bitString(signature))
  return encodePem('CERTIFICATE REQUEST', request)
}

const attribute = (oid: string, ...values: Uint8Array[]) =>
  der.sequence(der.objectIdentifier(oid), der.set(...values))
const extensionRequest = '1.2.840.113549.1.9.14'
const dns = (name: string) => der.element(0x82, Buffer.from(name))
const names = (...general: Uint8Array[]) =>
  der.sequence(der.objectIdentifier('2.5.29.17'), der.octetString(der.sequence(...general)))

t.test('what openssl makes for each allowed key and hash is read', async t => {
  for (const key of ['p256', 'p384', 'rsa', 'rsa4096']) {
    for (const hash of ['sha256', 'sha384', 'sha512']) {
      const pem = ask(workshop, { key, parameters: [`-${hash}`] })
      const read = readCertificateRequest(pem)
      if (!read.allowed) return t.fail(`${key} with ${hash} was refused: ${read.code}`)
      const spki = createPublicKey(workshop.read(`${key}.key`)).export({
        type: 'spki',
        format: 'der'
      })
      t.ok(spki.equals(read.publicKey), `${key} with ${hash}: the key is the one in the request`)
      t.equal(read.spkiSha256, createHash('sha256').update(spki).digest('hex'), 'its digest')
      t.equal(read.names, undefined, 'no names were asked for')
      t.equal(read.keyAlgorithm, { p256: 'P-256', p384: 'P-384' }[key] ?? 'RSA', 'its kind')
      t.equal(encodePem('CERTIFICATE REQUEST', read.csr), pem, 'the request itself is kept')
    }
  }
})

t.test('what our agent writes is accepted by openssl, the library and us', async t => {
  const asked = { dnsNames: ['localhost', 'a.b'], ipAddresses: ['127.0.0.1', '::1', 'fd00::7'] }
  for (const key of [
    makeKeyPairSync().privateKey,
    (await makeKeyPair('P-384')).privateKey,
    (await makeKeyPair('RSA-2048')).privateKey
  ]) {
    const kind = key.asymmetricKeyDetails?.namedCurve ?? 'RSA'
    workshop.write('ours.csr', createCertificateRequest(key, asked))
    const { output } = workshop.judge('req', '-in', 'ours.csr', '-verify', '-noout', '-text')
    t.match(output, /self-signature verify OK/, `${kind}: openssl verifies it`)
    t.match(output, /DNS:localhost, DNS:a\.b, IP Address:127\.0\.0\.1/, 'openssl reads the names')
    const library = new x509.Pkcs10CertificateRequest(workshop.read('ours.csr'))
    t.ok(await library.verify(), 'the library verifies it')
    t.match(
      readCertificateRequest(workshop.read('ours.csr')),
      { allowed: true, names: asked },
      kind
    )
    const bare = readCertificateRequest(createCertificateRequest(key))
    t.match(bare, { allowed: true, names: undefined }, 'as a rule it asks for no name')
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  t.throws(() => createCertificateRequest(privateKey), TypeError, 'no request for an Ed25519 key')
})

t.test(
  'attack 6: names in a request are returned for comparison or refused, never more',
  async t => {
    const read = readCertificateRequest(
      ask(workshop, {
        extensions: ['subjectAltName=critical,DNS:victim.svc,IP:10.0.0.9,IP:fd00::9']
      })
    )
    t.match(
      read,
      { allowed: true, names: { dnsNames: ['victim.svc'], ipAddresses: ['10.0.0.9', 'fd00::9'] } },
      'host names and addresses come back, for the caller to compare'
    )
    for (const value of [
      'DNS:a,URI:spiffe://cluster/ns/a',
      'DNS:a,email:a@b.c',
      'DNS:a,otherName:1.2.3.4;UTF8:x',
      'DNS:a,RID:1.2.3.4',
      'DNS:a,dirName:dn2',
      'DNS:*.svc',
      'DNS:10.0.0.1',
      'DNS:Upper.case',
      'DNS:a,DNS:a',
      'DNS:a_b'
    ]) {
      const sections = ['[dn2]', 'CN=x']
      const pem = ask(workshop, { extensions: [`subjectAltName=${value}`], sections })
      t.equal(codeOf(pem), 'CsrUnexpected', `${value} is refused`)
    }
  }
)

t.test('attack 6: a subject, other attributes and doubled ones are refused', async t => {
  t.equal(codeOf(ask(workshop, { subject: '/CN=head.team' })), 'CsrUnexpected', 'a subject')
  const { privateKey } = makeKeyPairSync()
  const one = attribute(extensionRequest, der.sequence(names(dns('a'))))
  t.equal(codeOf(forge(privateKey, { attributes: [one] })), 'allowed', 'one is fine')
  for (const [what, attributes, code] of [
    ['the same attribute twice', [one, one], 'CsrUnexpected'],
    [
      'a second list of extensions in one attribute',
      [attribute(extensionRequest, der.sequence(names(dns('a'))), der.sequence(names(dns('b'))))],
      'CsrMalformed'
    ],
    [
      'two subjectAltNames',
      [attribute(extensionRequest, der.sequence(names(dns('a')), names(dns('b'))))],
      'CsrUnexpected'
    ],
    ['no extension in the list', [attribute(extensionRequest, der.sequence())], 'CsrMalformed'],
    ['no names', [attribute(extensionRequest, der.sequence(names()))], 'CsrUnexpected'],
    [
      'too many names',
      [
        attribute(
          extensionRequest,
          der.sequence(names(...Array.from({ length: 65 }, (_, at) => dns(`a${at}`))))
        )
      ],
      'CsrMalformed'
    ],
    [
      'an address of five bytes',
      [attribute(extensionRequest, der.sequence(names(der.element(0x87, new Uint8Array(5)))))],
      'CsrUnexpected'
    ],
    [
      'a mapped address',
      [
        attribute(
          extensionRequest,
          der.sequence(
            names(der.element(0x87, Buffer.from('00000000000000000000ffff0a000001', 'hex')))
          )
        )
      ],
      'CsrUnexpected'
    ],
    [
      'criticality that is written although FALSE',
      [
        attribute(
          extensionRequest,
          der.sequence(
            der.sequence(
              der.objectIdentifier('2.5.29.17'),
              der.element(1, Uint8Array.of(0)),
              der.octetString(der.sequence(dns('a')))
            )
          )
        )
      ],
      'CsrMalformed'
    ],
    [
      'a challenge password',
      [attribute('1.2.840.113549.1.9.7', der.utf8String('secret'))],
      'CsrUnexpected'
    ],
    ['an attribute that is none', [der.sequence()], 'CsrMalformed'],
    ['the old attribute of Microsoft', [attribute('1.3.6.1.4.1.311.2.1.14')], 'CsrUnexpected']
  ] as const) {
    t.equal(codeOf(forge(privateKey, { attributes: [...attributes] })), code, what)
  }
})

t.test('attack 7: a request for a CA, other usages or other extensions is refused', async t => {
  for (const extension of [
    'basicConstraints=critical,CA:TRUE',
    'basicConstraints=CA:FALSE',
    'keyUsage=keyCertSign',
    'extendedKeyUsage=codeSigning',
    'extendedKeyUsage=serverAuth',
    'nameConstraints=permitted;DNS:a',
    '1.2.3.4=ASN1:UTF8:x'
  ]) {
    t.equal(codeOf(ask(workshop, { extensions: [extension] })), 'CsrUnexpected', extension)
    const both = ['subjectAltName=DNS:a', extension]
    t.equal(codeOf(ask(workshop, { extensions: both })), 'CsrUnexpected', `names and ${extension}`)
  }
})

t.test("attack 8: somebody else's public key is refused without its private key", async t => {
  const mine = makeKeyPairSync()
  const victim = makeKeyPairSync()
  const publicKey = victim.publicKey.export({ type: 'spki', format: 'der' })
  t.equal(codeOf(forge(mine.privateKey, { publicKey })), 'CsrSignature', 'signed by another key')
  t.equal(codeOf(forge(mine.privateKey)), 'allowed', 'the same by its own key is fine')
  const replaced = Buffer.from(
    createCertificateRequest(mine.privateKey).split('\n').slice(1, -2).join(''),
    'base64'
  )
  const point = publicKey.subarray(-65)
  const own = mine.publicKey.export({ type: 'spki', format: 'der' }).subarray(-65)
  point.copy(replaced, replaced.indexOf(own))
  t.equal(codeOf(encodePem('CERTIFICATE REQUEST', replaced)), 'CsrSignature', 'the key replaced')
  for (const [what, algorithm] of [
    ['RSA', signatureAlgorithms.rsaSha256.identifier],
    ['Ed25519', signatureAlgorithms.ed25519.identifier],
    ['another hash', signatureAlgorithms.ecdsaSha384.identifier],
    ['SHA-1', der.sequence(der.objectIdentifier('1.2.840.10045.4.1'))],
    ['none', der.sequence()]
  ] as const) {
    t.equal(codeOf(forge(mine.privateKey, { algorithm })), 'CsrSignature', `algorithm: ${what}`)
  }
  const sha1 = ask(workshop, { key: 'rsa', parameters: ['-sha1'] })
  t.equal(codeOf(sha1), 'CsrSignature', 'openssl signed with SHA-1')
})

t.test('attack 9: weak, huge, odd and unusable keys are refused', async t => {
  const kinds: KeyKind[] = [
    'RSA-1024',
    'RSA-2048 with e=3',
    'secp256k1',
    'P-521',
    'Ed25519',
    'RSA-PSS'
  ]
  for (const kind of kinds) {
    makeKey(workshop, 'odd', kind)
    t.equal(codeOf(ask(workshop, { key: 'odd' })), 'KeyNotAllowed', kind)
  }
  const { privateKey, publicKey } = makeKeyPairSync()
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const changed = (change: (bytes: Buffer) => Uint8Array) =>
    codeOf(forge(privateKey, { publicKey: change(Buffer.from(spki)) }))
  t.equal(
    changed(bytes => {
      bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1)
      return bytes
    }),
    'KeyNotAllowed',
    'a point that is not on the curve'
  )
  const identifier = der.readElements(der.readElement(spki).content)[0]?.whole ?? spki
  const ec = (...point: Uint8Array[]) =>
    codeOf(
      forge(privateKey, {
        publicKey: der.sequence(identifier, der.bitString(Buffer.concat(point)))
      })
    )
  const compressed = Buffer.from([3, ...spki.subarray(-64, -32)])
  t.equal(ec(compressed), 'KeyNotAllowed', 'a compressed point')
  t.equal(ec(Uint8Array.of(0)), 'KeyNotAllowed', 'the point at infinity')
  t.equal(ec(Uint8Array.of(4), new Uint8Array(64)), 'KeyNotAllowed', 'the point 0, 0')
  const rsa = (modulus: Uint8Array, exponent: number[]) => {
    const numbers = [der.unsignedInteger(modulus), der.unsignedInteger(Uint8Array.from(exponent))]
    const algorithm = der.sequence(der.objectIdentifier('1.2.840.113549.1.1.1'), der.nullValue())
    const key = der.sequence(algorithm, der.bitString(der.sequence(...numbers)))
    return codeOf(forge(privateKey, { publicKey: key }))
  }
  const odd = (bytes: number) => new Uint8Array(bytes).fill(0xff)
  t.equal(rsa(odd(255), [1, 0, 1]), 'KeyNotAllowed', 'RSA with 2040 bits')
  t.equal(rsa(Uint8Array.of(0x7f, ...odd(255)), [1, 0, 1]), 'KeyNotAllowed', 'RSA with 2047 bits')
  t.equal(rsa(Uint8Array.of(1, ...odd(512)), [1, 0, 1]), 'KeyNotAllowed', 'RSA with 4097 bits')
  t.equal(rsa(odd(256), [1]), 'KeyNotAllowed', 'RSA with the exponent 1')
  t.equal(rsa(Uint8Array.of(...odd(255), 0xfe), [1, 0, 1]), 'KeyNotAllowed', 'an even modulus')
  t.equal(rsa(odd(256), [1, 0, 1]), 'CsrSignature', 'a key of the right shape is tried')
  t.throws(() => readPublicKey(der.sequence(identifier)), der.DerError, 'half a key')
  t.throws(
    () => readPublicKey(der.sequence(identifier, der.bitString(compressed, 1))),
    der.DerError,
    'a key that ends within a byte'
  )
  const half = der.sequence(
    der.sequence(der.objectIdentifier('1.2.840.113549.1.1.1'), der.nullValue()),
    der.bitString(der.sequence(der.unsignedInteger(odd(256))))
  )
  t.throws(() => readPublicKey(half), der.DerError, 'an RSA key without exponent')
})

t.test('malformed text and structure are refused', async t => {
  const good = ask(workshop, {})
  const { privateKey } = makeKeyPairSync()
  const cases = {
    nothing: '',
    'not PEM': 'hello',
    'two requests': good + good,
    'text before it': `hello\n${good}`,
    'another label': good.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'),
    'more than 8 KiB': `${' '.repeat(8192)}${good}`,
    'another version': forge(privateKey, { version: 1 }),
    'a fifth field': forge(privateKey, { after: [der.nullValue()] }),
    'no fields': encodePem('CERTIFICATE REQUEST', der.sequence()),
    'data behind it': encodePem(
      'CERTIFICATE REQUEST',
      Buffer.concat([Buffer.from(good.split('\n').slice(1, -2).join(''), 'base64'), Buffer.of(0)])
    )
  }
  for (const [what, pem] of Object.entries(cases)) t.equal(codeOf(pem), 'CsrMalformed', what)
  t.equal(codeOf(7 as unknown as string), 'CsrMalformed', 'not even text')
  const bits = der.sequence(
    der.sequence(
      der.unsignedInteger(Uint8Array.of(0)),
      der.sequence(),
      createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
      der.element(0xa0)
    ),
    signatureAlgorithms.ecdsaSha256.identifier,
    der.bitString(Uint8Array.of(0), 1)
  )
  t.equal(codeOf(encodePem('CERTIFICATE REQUEST', bits)), 'CsrMalformed', 'a signature of 7 bits')
})

t.test('no change of any bytes crashes the reader or is accepted', async t => {
  const key = makeKeyPairSync().privateKey
  const pem = createCertificateRequest(key, { dnsNames: ['a.b'], ipAddresses: ['10.0.0.1'] })
  const original = Buffer.from(pem.split('\n').slice(1, -2).join(''), 'base64')
  const change = fc.record({
    at: fc.nat(original.length - 1),
    kind: fc.constantFrom('flip', 'remove', 'insert', 'cut'),
    value: fc.integer({ min: 1, max: 255 })
  })
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), changes => {
      let bytes = Buffer.from(original)
      for (const { at, kind, value } of changes) {
        if (kind === 'flip' && at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ value
        if (kind === 'remove')
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)])
        if (kind === 'cut') bytes = bytes.subarray(0, at)
        if (kind === 'insert') {
          bytes = Buffer.concat([bytes.subarray(0, at), Buffer.of(value), bytes.subarray(at)])
        }
      }
      const read = readCertificateRequest(encodePem('CERTIFICATE REQUEST', bytes))
      return !read.allowed || bytes.equals(original)
    }),
    { numRuns: 2000 }
  )
  fc.assert(
    fc.property(fc.nat(pem.length - 1), fc.string({ maxLength: 3 }), (at, text) => {
      const read = readCertificateRequest(pem.slice(0, at) + text + pem.slice(at + 1))
      return !read.allowed || original.equals(read.csr)
    }),
    { numRuns: 2000 }
  )
  for (let at = 0; at < original.length; at++) {
    const bytes = Buffer.from(original)
    bytes[at] = (bytes[at] ?? 0) ^ 0x01
    if (readCertificateRequest(encodePem('CERTIFICATE REQUEST', bytes)).allowed) {
      t.fail(`accepted with byte ${at} changed`)
    }
  }
  t.equal(codeOf(pem), 'allowed', 'the request itself is fine')
})
