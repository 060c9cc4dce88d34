/**
 * Asks the authority for a certificate, and judges what comes back before anybody gets it.
 *
 * Whoever signed may have been set up wrongly or broken into: what is not exactly what was asked is never sent.
 */
import {
  type Authority,
  AuthorityError,
  type IssuedCertificate,
  type LeafRequest
} from '../authority/authority.ts'
import { floorSeconds } from '../authority/limits.ts'
import { type Refusal, refuse } from '../identity/refusal.ts'
import { createLeafCheck } from '../x509/check-leaf.ts'
import { authorityRefusal } from './authority-refusal.ts'

export type Signature = { allowed: true; certificate: IssuedCertificate } | SignatureRefusal

/** `made`: there is one, but not as it was asked for. */
export type SignatureRefusal = Refusal & { cause?: unknown; made?: true }

/** By which a remote authority's clock may be behind, and its answer late. */
const toleranceSeconds = 60

export function createSigning(
  authority: Pick<Authority, 'issue'>,
  clock: () => number
): (request: LeafRequest) => Promise<Signature> {
  const checkLeaf = createLeafCheck()
  return async request => {
    const { publicKey, names, purpose, lifetimeSeconds } = request
    try {
      const certificate = await authority.issue(request)
      const now = new Date(clock())
      const problems = checkLeaf(certificate, {
        ...{ publicKey, names, purpose, now },
        minimumLifetimeSeconds: floorSeconds(lifetimeSeconds) - toleranceSeconds,
        maximumLifetimeSeconds: lifetimeSeconds
      })
      if (problems.length === 0) return { allowed: true, certificate }
      const found = problems.map(({ code, detail }) => `${code}: ${detail}`).join(' ')
      const reason = `the certificate is not as it was asked for: ${found}`
      return { ...refuse('AuthorityUnavailable', reason), made: true }
    } catch (cause) {
      const made = cause instanceof AuthorityError && cause.made
      return { ...authorityRefusal(cause), ...(made ? { made } : {}) }
    }
  }
}
