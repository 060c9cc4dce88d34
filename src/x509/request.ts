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
  const algorithm = signatureAlgorithmOf(privateKey)
  if (algorithm === undefined || algorithm.keyType === 'ed25519') {
    throw new TypeError('A P-256, P-384 or RSA key was expected.')
  }
  const information = sequence(
    unsignedInteger(Uint8Array.of(0)),
    sequence(),
    createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    element(contextTag(0, 'constructed'), ...(names === undefined ? [] : [requestedNames(names)]))
  )
  const request = sequence(
    information,
    algorithm.identifier,
    bitString(sign(algorithm.hash, information, privateKey))
  )
  return encodePem('CERTIFICATE REQUEST', request)
}

/** RFC 2985 §5.4.2. The subject is empty, therefore the names are critical (RFC 5280 §4.2.1.6). */
function requestedNames(names: CertificateNames): Uint8Array {
  const extension = sequence(
    objectIdentifier(subjectAlternativeNameOid),
    booleanTrue(),
    octetString(encodeAlternativeNames(names))
  )
  return sequence(objectIdentifier('1.2.840.113549.1.9.14'), set(sequence(extension)))
}
