/** Subjects of the certificates that have one (RFC 5280 §4.1.2.6): `O=Rayguard` and a CN, never a user's words. */
import { objectIdentifier, sequence, set, utf8String } from './der.ts'

export const organization = 'Rayguard'

/** DER, Name. In this order, as Go's encoder would have it: authorities in Go write it anew. */
export function subjectOf(commonName: string): Uint8Array {
  return sequence(attribute('2.5.4.10', organization), attribute('2.5.4.3', commonName))
}

/**
 * Of a certificate for a client outside the pods. No host can have this name, and it names nobody: who asked stands in the
 * request's object and in the log.
 */
export const clientCommonName = 'Ray client'

function attribute(oid: string, text: string): Uint8Array {
  return set(sequence(objectIdentifier(oid), utf8String(text)))
}
