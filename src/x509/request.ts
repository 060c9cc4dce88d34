/**
 * Writes a certificate request (PKCS#10, RFC 2986) for a key that the caller holds.
 *
 * It asks for no subject and, as a rule, for no name: the server builds them. Names are asked for only when the server
 * says that its authority takes them from the request.
 */
import { createPublicKey, type KeyObject, sign } from 'node:crypto'
import { signatureAlgorithmOf } from './algorithms.ts'
import { encodeAlternativeNames, subjectAlternativeNameOid } from './alternative-names.ts'
import {
  bitString,
  booleanTrue,
  contextTag,
  element,
  objectIdentifier,
  octetString,
  sequence,
  set,
  unsignedInteger
} from './der.ts'
import type { CertificateNames } from './names.ts'
import { encodePem } from './pem.ts'

/**
 * PEM of a request signed by the key (P-256, P-384 or RSA). With `names`, which must be canonical, the request has one
 * extensionRequest attribute with a critical subjectAltName. Throws TypeError for another kind of key.
 */
export function createCertificateRequest(privateKey: KeyObject, names?: CertificateNames): string {
  const extensions = names === undefined ? [] : [alternativeNames(names)]
  return encodePem('CERTIFICATE REQUEST', signedRequest(privateKey, sequence(), extensions))
}

/** DER. `subject` and `extensions` are DER, Name and Extension. Throws TypeError for another kind of key. */
export function signedRequest(
  privateKey: KeyObject,
  subject: Uint8Array,
  extensions: Uint8Array[]
): Uint8Array {
  const algorithm = signatureAlgorithmOf(privateKey)
  if (algorithm === undefined || algorithm.keyType === 'ed25519') {
    throw new TypeError('A P-256, P-384 or RSA key was expected.')
  }
  const information = sequence(
    unsignedInteger(Uint8Array.of(0)),
    subject,
    createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    element(
      contextTag(0, 'constructed'),
      ...(extensions.length === 0 ? [] : [extensionRequest(extensions)])
    )
  )
  return sequence(
    information,
    algorithm.identifier,
    bitString(sign(algorithm.hash, information, privateKey))
  )
}

/** RFC 2985 §5.4.2. */
function extensionRequest(extensions: Uint8Array[]): Uint8Array {
  return sequence(objectIdentifier('1.2.840.113549.1.9.14'), set(sequence(...extensions)))
}

/** The subject is empty, therefore the names are critical (RFC 5280 §4.2.1.6). */
function alternativeNames(names: CertificateNames): Uint8Array {
  return sequence(
    objectIdentifier(subjectAlternativeNameOid),
    booleanTrue(),
    octetString(encodeAlternativeNames(names))
  )
}
