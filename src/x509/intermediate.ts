/**
 * Writes the CA of one Ray cluster (RFC 5280 §4.2.1.9): it may sign pods and no further CA. And the request for one, for
 * authorities that take it from there.
 *
 * Decides the form; never the key, the name or the dates.
 */
import type { KeyObject } from 'node:crypto'
import type { SignatureAlgorithm } from './algorithms.ts'
import {
  bitString,
  booleanTrue,
  contextTag,
  element,
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
import { signedRequest } from './request.ts'

export interface IntermediateIssuer {
  /** DER, Name: the subject of the issuing CA, byte for byte. */
  subject: Uint8Array
  /** The issuing CA's subjectKeyIdentifier, if it has one. */
  keyIdentifier: Uint8Array | undefined
  signatureAlgorithm: SignatureAlgorithm
}

export interface IntermediateIdentity {
  /** DER, Name. */
  subject: Uint8Array
  /** What its subjectKeyIdentifier says. */
  keyIdentifier: Uint8Array
}

export interface Intermediate extends IntermediateIdentity {
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  /** 16 random bytes. */
  serialNumber: Uint8Array
  notBefore: Date
  notAfter: Date
}

const pathLengthZero = criticalExtension(
  oids.basicConstraints,
  sequence(booleanTrue(), unsignedInteger(Uint8Array.of(0)))
)
// RFC 5280 §4.2.1.3: bit 5 is keyCertSign, bit 6 cRLSign.
const signsCertificates = criticalExtension(oids.keyUsage, bitString(Uint8Array.of(0x06), 1))

/** DER, TBSCertificate: the bytes to sign. */
export function intermediateToBeSigned(
  issuer: IntermediateIssuer,
  intermediate: Intermediate
): Uint8Array {
  const { publicKey, subject, keyIdentifier, serialNumber, notBefore, notAfter } = intermediate
  return sequence(
    version3,
    unsignedInteger(serialNumber),
    issuer.signatureAlgorithm.identifier,
    issuer.subject,
    sequence(time(notBefore), time(notAfter)),
    subject,
    publicKey,
    element(
      contextTag(3, 'constructed'),
      sequence(
        pathLengthZero,
        signsCertificates,
        subjectKeyIdentifier(keyIdentifier),
        authorityKeyIdentifier(issuer.keyIdentifier)
      )
    )
  )
}

/** DER, Certificate. */
export function signedCertificate(
  toBeSigned: Uint8Array,
  { identifier }: SignatureAlgorithm,
  signature: Uint8Array
): Uint8Array {
  return sequence(toBeSigned, identifier, bitString(signature))
}

/** DER, PKCS#10: the same names, CA:TRUE, path length 0 and key usage as what is written here. */
export function createIntermediateRequest(
  privateKey: KeyObject,
  { subject, keyIdentifier }: IntermediateIdentity
): Uint8Array {
  const extensions = [pathLengthZero, signsCertificates, subjectKeyIdentifier(keyIdentifier)]
  return signedRequest(privateKey, subject, extensions)
}

function subjectKeyIdentifier(keyIdentifier: Uint8Array): Uint8Array {
  return extension(oids.subjectKeyIdentifier, octetString(keyIdentifier))
}
