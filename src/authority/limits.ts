/** What the chain of a CA allows a certificate below it, whoever signs. PURE. */
import { basicConstraintsOf, nameConstraintsOf } from '../x509/certificate.ts'
import type { Chain } from '../x509/chain.ts'
import type { CertificateNames } from '../x509/names.ts'
import { AuthorityError, type LeafContent } from './authority.ts'

/** Ray never reloads: a pod with less than this would only fail later. */
const shortestSeconds = 60 * 60

/** A signer may take this long, or have a clock that is this far ahead, before a life goes beyond the CA's end. */
const signedLaterMs = 5 * 60 * 1000

/** The least that is signed where so much is asked for. */
export function floorSeconds(lifetimeSeconds: number): number {
  return Math.min(shortestSeconds, lifetimeSeconds)
}

/**
 * Milliseconds since the epoch. A leaf that outlives its chain fails in every peer on the day the CA ends. Throws
 * AuthorityError `Invalid` where the chain leaves too little.
 */
export function latestEnd(chain: Chain, lifetimeSeconds: number, now: number): number {
  const end = Math.min(now + lifetimeSeconds * 1000, chain.notAfter.getTime())
  const floor = floorSeconds(lifetimeSeconds)
  if (end - now >= floor * 1000 && chain.notBefore.getTime() <= now) return end
  throw new AuthorityError(
    'Invalid',
    `The CA is valid from ${chain.notBefore.toISOString()} to ${chain.notAfter.toISOString()}, ` +
      `which leaves less than ${floor} s for a certificate. Renew the CA.`
  )
}

/**
 * What to ask a signer for that takes no end but a duration, and counts it from when it signs, by its own clock. Throws as
 * {@link latestEnd} does.
 */
export function secondsToAsk(chain: Chain, lifetimeSeconds: number, now: number): number {
  const latest = Math.min(
    latestEnd(chain, lifetimeSeconds, now),
    chain.notAfter.getTime() - signedLaterMs
  )
  return Math.max(1, Math.floor((latest - now) / 1000))
}

/**
 * Whether a life that was asked for before is what would be asked for now: never more than `lifetimeSeconds`. Where the CA's
 * end cuts it, it becomes less from second to second, by clocks that differ between replicas.
 */
export function isSameLife(
  foundSeconds: number | null | undefined,
  { seconds, lifetimeSeconds }: { seconds: number; lifetimeSeconds: number }
): boolean {
  const least = seconds - signedLaterMs / 1000
  return foundSeconds != null && foundSeconds >= least && foundSeconds <= lifetimeSeconds
}

/** Throws AuthorityError `Refused` for a name that the CA's name constraints exclude. */
export function refuseForeignNames(chain: Chain, { dnsNames }: CertificateNames): void {
  const foreign = dnsNames.find(name => !chain.permits(name))
  if (foreign === undefined) return
  throw new AuthorityError('Refused', `The name constraints of the CA do not allow ${foreign}.`)
}

/**
 * A role, signer or issuer elsewhere is set up for what pods need: for a client it would sign a server, which is of no use.
 * Throws AuthorityError `PodsOnly`.
 */
export function refuseClients({ purpose }: Pick<LeafContent, 'purpose'>): void {
  if (purpose !== 'client') return
  throw new AuthorityError('PodsOnly', 'This authority signs for pods alone, not for clients.')
}

/** Throws AuthorityError `Invalid` where there is one. */
export function refuseIntermediate(problem: string | undefined): void {
  if (problem === undefined) return
  throw new AuthorityError('Invalid', `No CA is signed: ${problem}.`)
}

/**
 * Why no intermediate of a Ray cluster can be below this chain (RFC 5280 §4.2.1.9, §4.2.1.10). Constraints on names would
 * be lost: pods trust the intermediate alone and look at nothing above it.
 */
export function intermediateProblem({ certificates }: Chain): string | undefined {
  for (const [above, certificate] of certificates.entries()) {
    const { pathLength } = basicConstraintsOf(certificate)
    if (pathLength === undefined || pathLength > above) continue
    const which = above === 0 ? 'the CA' : 'a CA above it'
    return `the path length of ${which} (${pathLength}) leaves no room for a CA below it`
  }
  return certificates.some(certificate => nameConstraintsOf(certificate) !== undefined)
    ? 'the CA or one above it has name constraints, which pods that trust an intermediate would not see'
    : undefined
}
