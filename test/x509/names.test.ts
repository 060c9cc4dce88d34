import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import * as der from '../../src/x509/der.ts'
import {
  addressFromBytes,
  addressToBytes,
  canonicalAddress,
  canonicalDnsName,
  canonicalNames,
  equalNames
} from '../../src/x509/names.ts'
import { encodePem, readPem, readSinglePem } from '../../src/x509/pem.ts'

const bytes = (...hex: string[]) => Uint8Array.from(Buffer.from(hex.join(''), 'hex'))

t.test('an address has one spelling', async t => {
  for (const [given, expected] of [
    ['10.0.0.1', '10.0.0.1'],
    ['::', '::'],
    ['1::', '1::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['::1.2.3.4', '::102:304'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::FFFF:a00:1', '10.0.0.1']
  ] as const) {
    t.equal(canonicalAddress(given), expected, `${given} is ${expected}`)
  }
  for (const odd of ['', '10.0.0.01', '10.0.0', '1.2.3.4/24', 'fe80::1%eth0', ':::', '0x7f.1']) {
    t.equal(canonicalAddress(odd), undefined, `${JSON.stringify(odd)} is no address`)
  }
})

t.test('any IPv6 address comes back from its bytes, and no two share a spelling', async t => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), address => {
      const text = addressFromBytes(address) ?? ''
      return isIPv6(text) && Buffer.compare(addressToBytes(text) ?? address.slice(1), address) === 0
    }),
    { numRuns: 2000 }
  )
  fc.assert(
    fc.property(fc.ipV6(), text => {
      const canonical = canonicalAddress(text)
      if (canonical === undefined) return text.includes('%')
      // The URL parser is another reader; it writes mapped addresses in another way only.
      const other = new URL(`http://[${text}]`).hostname.slice(1, -1)
      return canonicalAddress(canonical) === canonical && canonicalAddress(other) === canonical
    }),
    { numRuns: 2000 }
  )
  t.equal(
    addressFromBytes(bytes('0000000000000000', '0000ffff0a000001')),
    '::ffff:10.0.0.1',
    'mapped'
  )
  t.equal(addressFromBytes(bytes('0a000001ffffff00')), undefined, 'a network is not an address')
})

t.test('a host name is RFC 1123 labels in lower case and never looks like an address', async t => {
  t.equal(canonicalDnsName('Head.Team.SVC'), 'head.team.svc', 'lower case')
  t.equal(canonicalDnsName('3com.x-1'), '3com.x-1', 'a digit first')
  t.equal(canonicalDnsName('a'.repeat(63)), 'a'.repeat(63), 'the longest label')
  const odd = [
    '',
    '.',
    'a.',
    'a..b',
    '-a',
    'a-',
    'a_b',
    '*.a',
    'a b',
    'a\0b',
    'ä',
    '\u212a8s',
    '10.0.0.1',
    'a.1',
    '::1',
    'a'.repeat(64),
    `${'a.'.repeat(127)}a`
  ]
  for (const name of odd)
    t.equal(canonicalDnsName(name), undefined, `${JSON.stringify(name)} is refused`)
})

t.test('odd input is answered and never throws', async t => {
  fc.assert(
    fc.property(fc.anything(), value => {
      canonicalDnsName(value as string)
      canonicalAddress(value as string)
      addressToBytes(value as string)
      return true
    }),
    { numRuns: 1000 }
  )
  t.equal(canonicalDnsName(7 as unknown as string), undefined, 'a number is no name')
})

t.test('names are sets', async t => {
  const names = { dnsNames: ['B.c', 'a', 'b.C'], ipAddresses: ['::ffff:1.2.3.4', '1.2.3.4'] }
  const canonical = { dnsNames: ['b.c', 'a'], ipAddresses: ['1.2.3.4'] }
  t.strictSame(canonicalNames(names), canonical, 'canonical and without duplicates')
  t.equal(canonicalNames({ dnsNames: ['a_'], ipAddresses: [] }), undefined, 'an odd host name')
  t.equal(canonicalNames({ dnsNames: [], ipAddresses: ['a'] }), undefined, 'an odd address')
  const { ipAddresses } = canonical
  t.ok(equalNames(canonical, { dnsNames: ['a', 'b.c'], ipAddresses }), 'in any order')
  t.notOk(equalNames(canonical, { dnsNames: ['a'], ipAddresses }), 'one less')
  t.notOk(equalNames(canonical, { dnsNames: ['a', 'b.c', 'd'], ipAddresses }), 'one more')
  t.notOk(equalNames(canonical, { dnsNames: ['a', 'b.d'], ipAddresses }), 'another one')
  t.notOk(
    equalNames(canonical, { dnsNames: ['a', 'b.c'], ipAddresses: ['::ffff:1.2.3.4'] }),
    'a mapped address in a certificate is another name'
  )
})

t.test('DER that is written is read again', async t => {
  fc.assert(
    fc.property(
      fc.constantFrom(0x02, 0x04, 0x30, 0x80, 0xa3),
      fc.oneof(
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom(127, 128, 255, 256, 65535, 65536).map(size => new Uint8Array(size))
      ),
      (tag, content) => {
        const whole = der.element(tag, content)
        const found = der.readElement(whole, tag)
        return Buffer.compare(found.content, content) === 0 && found.whole.length === whole.length
      }
    ),
    { numRuns: 500 }
  )
  for (const oid of ['1.2.840.113549.1.9.14', '2.5.29.17', '2.999.3', '0.9.2342', '1.3.132.0.34']) {
    t.equal(der.readObjectIdentifier(der.readElement(der.objectIdentifier(oid)).content), oid, oid)
  }
  for (const [number, expected] of [
    [[0], [0]],
    [[0, 0, 5], [5]],
    [[0x80], [0x80]],
    [[], [0]]
  ] as const) {
    const { content } = der.readElement(der.unsignedInteger(Uint8Array.from(number)))
    t.strictSame([...der.readUnsignedInteger(content)], expected, `the number ${number}`)
  }
})

t.test('DER with a second spelling, a wrong length or data behind it is refused', async t => {
  const refused = {
    'nothing at all': '',
    'a tag alone': '30',
    'an indefinite length': '3080020100' + '0000',
    'a length in two bytes where one does': '308103020100',
    'a length with a leading zero': '3082000402020100',
    'a length of four bytes': '308400000003020100',
    'a length that is cut off': '3082',
    'more content than there is': '3005020100',
    'data behind the value': '300302010000',
    'a tag of two bytes': '1f8001020000'
  }
  for (const [what, hex] of Object.entries(refused)) {
    t.throws(() => der.readElement(bytes(hex)), { code: 'DerMalformed' }, what)
  }
  t.throws(() => der.readElement(bytes('0500'), der.tags.sequence), der.DerError, 'another tag')
  t.throws(() => der.readElements(bytes('0500'.repeat(5)), 4), der.DerError, 'too many values')
  for (const oid of ['', '80', '8001', '2a80', '2a86', 'ff'.repeat(9), '2a'.repeat(33)]) {
    t.throws(() => der.readObjectIdentifier(bytes(oid)), der.DerError, `object identifier ${oid}`)
  }
  for (const number of ['', '80', '0001']) {
    t.throws(() => der.readUnsignedInteger(bytes(number)), der.DerError, `number ${number}`)
  }
})

t.test('times switch from UTCTime to GeneralizedTime in 2050', async t => {
  const read = (date: Date) => der.readTime(der.readElement(der.time(date)))
  for (const [text, tag] of [
    ['1950-01-01T00:00:00Z', der.tags.utcTime],
    ['1999-12-31T23:59:59Z', der.tags.utcTime],
    ['2049-12-31T23:59:59Z', der.tags.utcTime],
    ['2050-01-01T00:00:00Z', der.tags.generalizedTime],
    ['9999-12-31T23:59:59Z', der.tags.generalizedTime]
  ] as const) {
    t.equal(der.time(new Date(text))[0], tag, `${text} has its form`)
    t.equal(read(new Date(text)).getTime(), Date.parse(text), `${text} is read again`)
  }
  t.equal(read(new Date('2026-01-01T00:00:00.999Z')).getMilliseconds(), 0, 'whole seconds')
  for (const [tag, text] of [
    [der.tags.utcTime, '260230000000Z'],
    [der.tags.utcTime, '2601010000Z'],
    [der.tags.utcTime, '260101000000+0000'],
    [der.tags.utcTime, '260101240000Z'],
    [der.tags.generalizedTime, '20260101000000Z'],
    [der.tags.generalizedTime, '20500101000000.5Z'],
    [der.tags.octetString, '260101000000Z']
  ] as const) {
    const value = der.readElement(der.element(tag, Buffer.from(text)))
    t.throws(() => der.readTime(value), der.DerError, `${text} with tag ${tag}`)
  }
})

t.test('PEM is canonical base64 in whole blocks', async t => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), content => {
      const found = readSinglePem(encodePem('CERTIFICATE', content), 'CERTIFICATE')
      return found !== undefined && Buffer.compare(found, content) === 0
    }),
    { numRuns: 300 }
  )
  const one = encodePem('CERTIFICATE', Uint8Array.of(1, 2, 3, 4))
  t.equal(
    readPem(`text\n${one}more\n${one.replaceAll('\n', '\r\n')}`)?.length,
    2,
    'text is skipped'
  )
  t.strictSame(readPem('nothing'), [], 'no block')
  t.ok(readSinglePem(` \n${one}\r\n`, 'CERTIFICATE'), 'blanks around it')
  t.equal(readSinglePem(`text\n${one}`, 'CERTIFICATE'), undefined, 'text around it')
  t.equal(readSinglePem(one + one, 'CERTIFICATE'), undefined, 'two blocks')
  t.equal(readSinglePem(one, 'CERTIFICATE REQUEST'), undefined, 'another label')
  const damaged = {
    'a foreign character': one.replace('AQ', 'A!Q'),
    'stray bits': one.replace('BA==', 'BB=='),
    'no padding': one.replace('==', ''),
    'another end': one.replace('END CERTIFICATE', 'END CERT'),
    'no end': one.slice(0, -5),
    'a label that does not end': '-----BEGIN CERTIFICATE',
    'a label in lower case': one.replaceAll('CERTIFICATE', 'certificate'),
    'nothing inside': '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n'
  }
  for (const [what, text] of Object.entries(damaged)) t.equal(readPem(text), undefined, what)
})
