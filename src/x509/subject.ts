/** Subjects of the certificates that have one (RFC 5280 §4.1.2.6): `O=Rayguard` and a CN, never a user's words. */
import { objectIdentifier, printableString, sequence, set, utf8String } from './der.ts'

export const organization = 'Rayguard'

/**
 * DER, Name. In this order and with these types of strings, as Go's encoder has it: authorities in Go write a subject anew,
 * and the next one that signs the CA of a RayCluster has to come to the same bytes.
 */
export function subjectOf(commonName: string): Uint8Array {
  return sequence(attribute('2.5.4.10', organization), attribute('2.5.4.3', commonName))
}

/**
 * Of a certificate for a client outside the pods. No host can have this name, and it names nobody: who asked stands in the
 * request's object and in the log.
 */
export const clientCommonName = 'Ray client'

function attribute(oid: string, text: string): Uint8Array {
  const value = printable.test(text) ? printableString(text) : utf8String(text)
  return set(sequence(objectIdentifier(oid), value))
}

/** X.680 §41.4. */
const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/
