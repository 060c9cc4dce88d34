/** The parts that the certificates written here have in common (RFC 5280 §4.1, §4.2). */
import { subjectAlternativeNameOid } from './alternative-names.ts'
import {
  booleanTrue,
  contextTag,
  element,
  objectIdentifier,
  octetString,
  sequence,
  unsignedInteger
} from './der.ts'

export const version3 = element(contextTag(0, 'constructed'), unsignedInteger(Uint8Array.of(2)))

export const oids = {
  subjectKeyIdentifier: objectIdentifier('2.5.29.14'),
  keyUsage: objectIdentifier('2.5.29.15'),
  subjectAlternativeName: objectIdentifier(subjectAlternativeNameOid),
  basicConstraints: objectIdentifier('2.5.29.19'),
  authorityKeyIdentifier: objectIdentifier('2.5.29.35'),
  extendedKeyUsage: objectIdentifier('2.5.29.37')
}

const critical = booleanTrue()

export function criticalExtension(oid: Uint8Array, value: Uint8Array): Uint8Array {
  return sequence(oid, critical, octetString(value))
}

export function extension(oid: Uint8Array, value: Uint8Array): Uint8Array {
  return sequence(oid, octetString(value))
}

/** Nothing where the issuing CA has no subjectKeyIdentifier to refer to. */
export function authorityKeyIdentifier(issuerKey: Uint8Array | undefined): Uint8Array {
  return issuerKey === undefined
    ? new Uint8Array()
    : extension(
        oids.authorityKeyIdentifier,
        sequence(element(contextTag(0, 'primitive'), issuerKey))
      )
}
