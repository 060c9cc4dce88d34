/**
 * The CA that signs and those above it, as a signer tells them, which nobody has chosen for Rayguard.
 *
 * Decides what of that counts: the constraints of those in force, up to the first that is not; above that nothing does, and
 * no dates but the signer's own. Pods trust the signer alone, and many a signer goes on telling a root that has ended or was
 * made anew.
 */
import { type Certificate, readCertificate } from '../x509/certificate.ts'
import type { Chain } from '../x509/chain.ts'
import { DerError } from '../x509/der.ts'
import { encodePem, readPem } from '../x509/pem.ts'
import { type UsableChainOptions, usableChain } from './pem-files.ts'

/** Of PEM, the signer first, each signed by the next. Throws AuthorityError `Invalid` with everything that is wrong. */
export function toldChain(pem: string, options: UsableChainOptions): Chain {
  const ders = (readPem(pem) ?? []).map(({ der }) => der)
  const outside = ders.findIndex((der, at) => at > 0 && isOutOfForce(der, options.now))
  if (outside < 0) return ofItsOwnDates(usableChain(pem, options))
  const inForce = ders.slice(0, outside).map(der => encodePem('CERTIFICATE', der))
  const notInForce = ders.slice(outside).flatMap(der => readable(der) ?? [])
  const chain = ofItsOwnDates(usableChain(inForce.join(''), options))
  return { ...chain, beside: [...chain.beside, ...notInForce] }
}

function ofItsOwnDates(chain: Chain): Chain {
  const { notBefore, notAfter } = chain.issuing
  return { ...chain, notBefore, notAfter }
}

function isOutOfForce(der: Uint8Array, now: Date): boolean {
  const certificate = readable(der)
  return certificate !== undefined && (now < certificate.notBefore || now >= certificate.notAfter)
}

/** `undefined`: what is wrong with it is told with the chain. */
function readable(der: Uint8Array): Certificate | undefined {
  try {
    return readCertificate(der)
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}
