/**
 * What a signer outside has answered, brought into our form: the leaf alone, and the CA that signed it as trust anchor.
 *
 * Decides which CA that is. Whether the certificate is what was asked for is judged where it is handed out (enrollment).
 */
import { X509Certificate } from 'node:crypto'
import { type Certificate, readCertificate } from '../x509/certificate.ts'
import { type Chain, issued } from '../x509/chain.ts'
import { DerError } from '../x509/der.ts'
import { serialNumberText } from '../x509/leaf.ts'
import { encodePem, readPem } from '../x509/pem.ts'
import { AuthorityError, type IssuedCertificate } from './authority.ts'

const maximumCertificates = 10

/** The certificates of a PEM text, in its order; at least one. Throws AuthorityError `Invalid`. */
export function readAnswer(pem: string): [Certificate, ...Certificate[]] {
  const blocks = readPem(pem)
  const wrong = blocks?.some(({ label }) => label !== 'CERTIFICATE') ?? true
  try {
    const [leaf, ...others] = (blocks ?? []).map(({ der }) => readCertificate(der))
    if (!wrong && leaf !== undefined && others.length < maximumCertificates) {
      return [leaf, ...others]
    }
  } catch (error) {
    if (!(error instanceof DerError)) throw error
  }
  throw new AuthorityError(
    'Invalid',
    'The signer answered something else than certificates in PEM.',
    { made: true }
  )
}

/** Throws AuthorityError `Invalid` where another CA has signed it than the one that pods are to trust. */
export function requireIssuer(certificate: Certificate, { issuing, subject }: Chain): void {
  if (issued(issuing, certificate)) return
  const signer = new X509Certificate(certificate.der).issuer.split('\n').join(', ')
  throw new AuthorityError(
    'Invalid',
    `The certificate is signed by "${signer}" and not by the CA that pods are to trust, "${subject}". certificateFile begins with the CA that signs, not with one above it.`,
    { made: true }
  )
}

/** Throws AuthorityError `Invalid`. */
export function issuedCertificate(leaf: Certificate, chain: Chain): IssuedCertificate {
  requireIssuer(leaf, chain)
  return {
    certificate: encodePem('CERTIFICATE', leaf.der),
    trustAnchors: chain.trustAnchor,
    serialNumber: serialNumberText(leaf.serialNumber),
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter
  }
}
