/**
 * What makes two certificates those of one CA, to whoever trusts one of them, and as long as that one is in force.
 *
 * A CA that was renewed with its key has another certificate, and what it signs leads to the former one as well: by the name of
 * the issuer, by the signature, and by the authorityKeyIdentifier (RFC 5280 §4.2.1.1, §6.1.1).
 */
import { createHash } from 'node:crypto'
import { type Certificate, keyIdentifierOf } from './certificate.ts'
import { equalBytes } from './public-key.ts'

/**
 * SHA-256 of subject, public key and subjectKeyIdentifier, lower-case hexadecimal. Throws DerError where that extension is
 * malformed.
 */
export function authorityKeySha256(
  certificate: Certificate,
  keyIdentifier: Uint8Array | 'none' = keyIdentifierOf(certificate) ?? 'none'
): string {
  const { subject, publicKey } = certificate
  return createHash('sha256')
    .update(subject)
    .update(publicKey)
    .update(keyIdentifier === 'none' ? '' : keyIdentifier)
    .digest('hex')
}

/**
 * Whether a verifier that trusts both may take the one for the other: it looks for an issuer by name and key identifier
 * (RFC 4158 §3.5.12), takes what it comes upon, and refuses the peer where that is not in force or has another key. Throws
 * DerError as above.
 */
export function areMistakable(one: Certificate, other: Certificate): boolean {
  if (!equalBytes(one.subject, other.subject)) return false
  const [first, second] = [keyIdentifierOf(one), keyIdentifierOf(other)]
  return first === undefined || second === undefined || equalBytes(first, second)
}

/**
 * Of those that are mistakable and have one key one each: of those in force, else of all, the one that ends last. `now` is in
 * milliseconds since the epoch. Throws DerError as above.
 */
export function oneOfEach(certificates: readonly Certificate[], now: number): Certificate[] {
  const best = bestFirst(certificates, now)
  const kept = best.filter(
    (each, at) =>
      !best
        .slice(0, at)
        .some(other => equalBytes(each.publicKey, other.publicKey) && areMistakable(each, other))
  )
  return certificates.filter(each => kept.includes(each))
}

/** Those in force before others, and of each kind first what ends last. */
export function bestFirst(certificates: readonly Certificate[], now: number): Certificate[] {
  return [...certificates].sort(
    (one, other) =>
      Number(isInForce(other, now)) - Number(isInForce(one, now)) ||
      other.notAfter.getTime() - one.notAfter.getTime()
  )
}

export function isInForce({ notBefore, notAfter }: Certificate, now: number): boolean {
  return notBefore.getTime() <= now && now < notAfter.getTime()
}
