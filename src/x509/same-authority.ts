/**
 * What makes two certificates those of one CA, to whoever trusts one of them.
 *
 * A CA that was renewed with its key has another certificate, and what it signs leads to the former one as well: by the name of
 * the issuer, by the signature, and by the authorityKeyIdentifier (RFC 5280 §4.2.1.1, §6.1.1).
 */
import { createHash } from 'node:crypto'
import { type Certificate, keyIdentifierOf } from './certificate.ts'

/**
 * SHA-256 of subject, public key and subjectKeyIdentifier, lower-case hexadecimal. Throws DerError where that extension is
 * malformed.
 */
export function authorityKeySha256(certificate: Certificate): string {
  const { subject, publicKey } = certificate
  return createHash('sha256')
    .update(subject)
    .update(publicKey)
    .update(keyIdentifierOf(certificate) ?? '')
    .digest('hex')
}
