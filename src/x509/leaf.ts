/**
 * Writes the one kind of certificate that a pod gets (RFC 5280 §4.1): no subject, names in a critical subjectAltName,
 * both TLS usages, never a CA. Our own listeners get the same with the server's usage alone; a client outside the pods gets
 * a fixed subject, no name and the client's usage alone, so that it can be no server.
 *
 * Decides the fixed form; never the names, the key or the dates. The library makes the same in 3 ms of the event loop,
 * this in some 20 µs; the tests have the library and openssl judge the result.
 */
import { createHash } from 'node:crypto'
import type { SignatureAlgorithm } from './algorithms.ts'
import { encodeAlternativeNames } from './alternative-names.ts'
import {
  bitString,
  contextTag,
  element,
  objectIdentifier,
  octetString,
  sequence,
  time,
  unsignedInteger
} from './der.ts'
import {
  authorityKeyIdentifier,
  criticalExtension,
  extension,
  oids,
  version3
} from './extensions.ts'
import type { CertificateNames } from './names.ts'
import { type PublicKeyAlgorithm, publicKeyBits } from './public-key.ts'
import { clientCommonName, subjectOf } from './subject.ts'

export interface LeafIssuer {
  /** DER, Name: the subject of the issuing CA, byte for byte. */
  subject: Uint8Array
  /** The issuing CA's subjectKeyIdentifier, if it has one. */
  keyIdentifier: Uint8Array | undefined
  /** What the issuing CA's key signs with. */
  signatureAlgorithm: SignatureAlgorithm
  /** For which side of a connection; both by default. */
  usages?: 'server'
}

export interface Leaf {
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  keyAlgorithm: PublicKeyAlgorithm
  /** Canonical. */
  names: CertificateNames
  /** Of a client, which has no names. */
  purpose?: 'client' | undefined
  /** 16 random bytes, see {@link randomSerialNumber}. */
  serialNumber: Uint8Array
  /** Whole seconds; milliseconds are cut off. */
  notBefore: Date
  notAfter: Date
}

export interface LeafWriter {
  /** DER, TBSCertificate: the bytes to sign. */
  toBeSigned(leaf: Leaf): Uint8Array
  /** DER, Certificate. */
  certificate(toBeSigned: Uint8Array, signature: Uint8Array): Uint8Array
}

const emptySubject = sequence()
const clientSubject = subjectOf(clientCommonName)

// cA is FALSE by default and therefore not written (RFC 5280 §4.2.1.9).
const notAnAuthority = criticalExtension(oids.basicConstraints, sequence())
// RFC 5280 §4.2.1.3: bit 0 is digitalSignature, bit 2 keyEncipherment (RSA key exchange of TLS 1.2).
const digitalSignature = criticalExtension(oids.keyUsage, bitString(Uint8Array.of(0x80), 7))
const digitalSignatureAndEncipherment = criticalExtension(
  oids.keyUsage,
  bitString(Uint8Array.of(0xa0), 5)
)
// Every Ray process is server and client; gRPC refuses a peer whose certificate has the other usage only.
const serverAndClient = extension(
  oids.extendedKeyUsage,
  sequence(objectIdentifier('1.3.6.1.5.5.7.3.1'), objectIdentifier('1.3.6.1.5.5.7.3.2'))
)

const serverAlone = extension(
  oids.extendedKeyUsage,
  sequence(objectIdentifier('1.3.6.1.5.5.7.3.1'))
)
const clientAlone = extension(
  oids.extendedKeyUsage,
  sequence(objectIdentifier('1.3.6.1.5.5.7.3.2'))
)

/** What is the same in all certificates of an issuer is encoded once, here. */
export function createLeafWriter(issuer: LeafIssuer): LeafWriter {
  const issuerKey = authorityKeyIdentifier(issuer.keyIdentifier)
  const algorithm = issuer.signatureAlgorithm.identifier
  const usages = issuer.usages === 'server' ? serverAlone : serverAndClient

  return {
    toBeSigned: leaf =>
      sequence(
        version3,
        unsignedInteger(leaf.serialNumber),
        algorithm,
        issuer.subject,
        sequence(time(leaf.notBefore), time(leaf.notAfter)),
        leaf.purpose === 'client' ? clientSubject : emptySubject,
        leaf.publicKey,
        element(
          contextTag(3, 'constructed'),
          sequence(
            notAnAuthority,
            leaf.keyAlgorithm === 'RSA' ? digitalSignatureAndEncipherment : digitalSignature,
            leaf.purpose === 'client' ? clientAlone : usages,
            extension(oids.subjectKeyIdentifier, octetString(keyIdentifier(leaf.publicKey))),
            issuerKey,
            leaf.purpose === 'client' ? new Uint8Array() : alternativeNames(leaf.names)
          )
        )
      ),
    certificate: (toBeSigned, signature) => sequence(toBeSigned, algorithm, bitString(signature))
  }
}

/** Critical because the subject is empty (RFC 5280 §4.2.1.6). */
function alternativeNames(names: CertificateNames): Uint8Array {
  return criticalExtension(oids.subjectAlternativeName, encodeAlternativeNames(names))
}

/** The first 160 bits of the key's SHA-256 (RFC 7093 §2 method 1). */
export function keyIdentifier(publicKey: Uint8Array): Uint8Array {
  return createHash('sha256').update(publicKeyBits(publicKey)).digest().subarray(0, 20)
}

/**
 * 128 random bits: no two alike by chance and none to be guessed. Written as a positive number they take at most 17
 * octets of the 20 allowed (RFC 5280 §4.1.2.2). Throws when the source gives nothing but zeros.
 */
export function randomSerialNumber(random: (size: number) => Uint8Array): Uint8Array {
  const bytes = random(16)
  if (bytes.length !== 16 || bytes.every(byte => byte === 0)) {
    throw new TypeError('The random source did not give 16 random bytes.')
  }
  return bytes
}

/** Lower-case hexadecimal without leading zero bytes, as openssl and node:crypto print it. */
export function serialNumberText(serialNumber: Uint8Array): string {
  return Buffer.from(serialNumber)
    .toString('hex')
    .replace(/^(?:00)+(?=.)/, '')
}
