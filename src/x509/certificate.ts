/**
 * Reads a certificate (RFC 5280 §4.1) into the parts that are checked, as strictly as the rest of DER here.
 *
 * Decides nothing about trust. Extensions that it does not know stay in `extensions` with their criticality.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { signatureAlgorithms } from './algorithms.ts'
import { readAlternativeNames } from './alternative-names.ts'
import {
  contextTag,
  DerError,
  type Element,
  readElement,
  readElements,
  readObjectIdentifier,
  readTime,
  readUnsignedInteger,
  tags
} from './der.ts'
import type { CertificateNames } from './names.ts'
import { equalBytes, readPublicKey } from './public-key.ts'

export const extensionOids = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37'
} as const

export interface Certificate {
  der: Uint8Array
  toBeSigned: Uint8Array
  /** Big-endian, without the sign byte. */
  serialNumber: Uint8Array
  /** DER, Name. */
  issuer: Uint8Array
  /** DER, Name. */
  subject: Uint8Array
  notBefore: Date
  notAfter: Date
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  /** By object identifier. */
  extensions: ReadonlyMap<string, { critical: boolean; value: Uint8Array }>
  /** DER, AlgorithmIdentifier. */
  algorithm: Uint8Array
  signature: Uint8Array
}

/** Throws DerError; duplicate extensions and versions before 3 count as malformed. */
export function readCertificate(der: Uint8Array): Certificate {
  const [toBeSigned, algorithm, signature, ...more] = children(der)
  if (toBeSigned === undefined || algorithm === undefined || signature === undefined) {
    throw new DerError('A certificate is content, algorithm and signature.')
  }
  expect(more.length === 0 && signature.tag === tags.bitString && signature.content[0] === 0)
  const [version, serial, inner, issuer, validity, subject, publicKey, ...optional] = children(
    toBeSigned.whole
  )
  expect(version?.tag === contextTag(0, 'constructed') && version.content.at(-1) === 2)
  if (!serial || !inner || !issuer || !validity || !subject || !publicKey) {
    throw new DerError('A certificate lacks a field.')
  }
  expect(serial.tag === tags.integer && serial.content.length <= 20)
  expect([issuer, subject, publicKey].every(({ tag }) => tag === tags.sequence))
  // The signed algorithm and the one outside must be the same (RFC 5280 §4.1.1.2).
  expect(equalBytes(inner.whole, algorithm.whole))
  const [notBefore, notAfter, ...others] = children(validity.whole)
  if (!notBefore || !notAfter || others.length > 0) throw new DerError('A validity is two times.')
  return {
    der,
    toBeSigned: toBeSigned.whole,
    serialNumber: readUnsignedInteger(serial.content),
    issuer: issuer.whole,
    subject: subject.whole,
    notBefore: readTime(notBefore),
    notAfter: readTime(notAfter),
    publicKey: publicKey.whole,
    extensions: readExtensions(optional.at(-1)),
    algorithm: algorithm.whole,
    signature: signature.content.subarray(1)
  }
}

function children(der: Uint8Array): Element[] {
  return readElements(readElement(der, tags.sequence).content)
}

function expect(condition: boolean): asserts condition {
  if (!condition) throw new DerError('A field of the certificate is not as RFC 5280 has it.')
}

function readExtensions(field: Element | undefined): Certificate['extensions'] {
  const found = new Map<string, { critical: boolean; value: Uint8Array }>()
  if (field?.tag !== contextTag(3, 'constructed')) return found
  for (const extension of children(field.content)) {
    const [type, second, third, ...more] = children(extension.whole)
    const value = third ?? second
    expect(type?.tag === tags.objectIdentifier && value?.tag === tags.octetString)
    const flag = third === undefined ? undefined : second
    // FALSE is not written in DER, but old company CAs do it.
    expect(more.length === 0 && (flag === undefined || flag.tag === tags.boolean))
    const oid = readObjectIdentifier(type.content)
    expect(!found.has(oid))
    const critical = flag !== undefined && flag.content[0] !== 0
    found.set(oid, { critical, value: value.content })
  }
  return found
}

/** The names of the subjectAltName; `undefined` if there is none or it has other kinds of names. Throws DerError. */
export function namesOf(certificate: Certificate): CertificateNames | undefined {
  const extension = certificate.extensions.get(extensionOids.subjectAlternativeName)
  return extension === undefined ? undefined : readAlternativeNames(extension.value)
}

/** RFC 5280 §4.2.1.3: the bit of a key usage that lets it sign certificates. */
export const keyCertSign = 5

/** Bits of keyUsage by their number (RFC 5280 §4.2.1.3); `undefined` without the extension. Throws DerError. */
export function keyUsageOf(certificate: Certificate): Set<number> | undefined {
  const extension = certificate.extensions.get(extensionOids.keyUsage)
  if (extension === undefined) return undefined
  const bits = readElement(extension.value, tags.bitString).content.subarray(1)
  const usages = new Set<number>()
  for (let bit = 0; bit < bits.length * 8; bit++) {
    if (((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0) usages.add(bit)
  }
  return usages
}

/** Object identifiers of extendedKeyUsage; `undefined` without the extension. Throws DerError. */
export function extendedKeyUsageOf(certificate: Certificate): Set<string> | undefined {
  const extension = certificate.extensions.get(extensionOids.extendedKeyUsage)
  if (extension === undefined) return undefined
  return new Set(children(extension.value).map(({ content }) => readObjectIdentifier(content)))
}

/** The subjectKeyIdentifier, which whoever made the certificate chose freely (RFC 5280 §4.2.1.2). */
export function keyIdentifierOf({ extensions }: Certificate): Uint8Array | undefined {
  const extension = extensions.get(extensionOids.subjectKeyIdentifier)
  return extension && readElement(extension.value, tags.octetString).content
}

/** RFC 5280 §4.2.1.9; without the extension it is no CA. Throws DerError. */
export function basicConstraintsOf(certificate: Certificate): {
  isAuthority: boolean
  pathLength: number | undefined
} {
  const extension = certificate.extensions.get(extensionOids.basicConstraints)
  const fields = extension === undefined ? [] : children(extension.value)
  const flag = fields.find(({ tag }) => tag === tags.boolean)
  const length = fields.find(({ tag }) => tag === tags.integer)
  const digits = length && readUnsignedInteger(length.content)
  return {
    isAuthority: flag !== undefined && flag.content[0] !== 0,
    // More than one byte is longer than any chain taken here.
    pathLength: digits?.length === 1 ? digits[0] : undefined
  }
}

/** What a CA may certify (RFC 5280 §4.2.1.10), as far as pods need to know. */
export interface NameConstraints {
  permittedDns: string[]
  excludedDns: string[]
  /** Any constraint on addresses: BoringSSL fails every chain with one. */
  hasAddresses: boolean
}

/** `undefined` without the extension. Throws DerError. */
export function nameConstraintsOf(certificate: Certificate): NameConstraints | undefined {
  const extension = certificate.extensions.get(extensionOids.nameConstraints)
  if (extension === undefined) return undefined
  const found: NameConstraints = { permittedDns: [], excludedDns: [], hasAddresses: false }
  for (const part of children(extension.value)) {
    const permitted = part.tag === contextTag(0, 'constructed')
    for (const subtree of readElements(part.content, 1000)) {
      const base = children(subtree.whole)[0]
      const text = Buffer.from(base?.content ?? []).toString('latin1')
      if (base?.tag === contextTag(7, 'primitive')) found.hasAddresses = true
      else if (base?.tag === contextTag(2, 'primitive')) {
        if (permitted) found.permittedDns.push(text.toLowerCase())
        else found.excludedDns.push(text.toLowerCase())
      }
    }
  }
  return found
}

/** The key in a form that verifies, or `undefined` if OpenSSL does not take it. */
export function verificationKey(publicKey: Uint8Array): KeyObject | undefined {
  try {
    const usual = readPublicKey(publicKey)
    if (usual.allowed) return usual.key
    // Ed25519 and large RSA keys of CAs.
    return createPublicKey({ key: Buffer.from(publicKey), type: 'spki', format: 'der' })
  } catch {
    return undefined
  }
}

/** Whether the key made the signature, with an algorithm of our table; weak hashes are not in it. */
export function isSignedBy(certificate: Certificate, key: KeyObject): boolean {
  const algorithm = Object.values(signatureAlgorithms).find(
    known =>
      known.keyType === key.asymmetricKeyType && equalBytes(known.identifier, certificate.algorithm)
  )
  if (algorithm === undefined) return false
  try {
    return verify(algorithm.hash, certificate.toBeSigned, key, certificate.signature)
  } catch {
    return false
  }
}
