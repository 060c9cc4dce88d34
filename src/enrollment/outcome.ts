import type { CertificateResponse, RefusalCode } from '../contract/enrollment.ts'
import type { ClaimedOwner } from '../identity/identity.ts'
import type { Refusal } from '../identity/refusal.ts'
import type { CertificateNames } from '../x509/names.ts'

/** What is known of a request, for the log and the metrics. Never a token, a key or a certificate request. */
export interface EnrollmentFacts {
  pod?: { namespace: string; name: string; uid: string }
  /** The API server's own log has the same. */
  credentialId?: string
  /** Named by the pod itself; {@link rayCluster} once it is proven. */
  owner?: ClaimedOwner
  rayCluster?: string
  role?: 'head' | 'worker'
  spkiSha256?: string
  serialNumber?: string
  /** What people should know of the label of the namespace. */
  lifetimeLabel?: string
  /** How long the request waited for its address to be visible. */
  heldSeconds?: number
}

export type Decision =
  | { allowed: true; response: CertificateResponse }
  | (Refusal & {
      /** With `NamesRequired`. */
      names?: CertificateNames
      /** The exception behind a fault, for the log. */
      cause?: unknown
    })

export type EnrollmentOutcome = Decision & { facts: EnrollmentFacts; durationSeconds: number }

/** Seconds after which "again" makes sense: what passes by itself within a moment, and what a person has to see to. */
const retryAfterSeconds: Partial<Record<RefusalCode, number>> = {
  TokenExpired: 2,
  AlreadyEnrolled: 5,
  ImageNotKnown: 10,
  IPNotVisible: 1,
  IPMismatch: 1,
  IPConflict: 3,
  HeadNotKnown: 1,
  HeadServiceNotKnown: 2,
  LifetimeLabel: 10,
  QuotaExceeded: 60,
  ApiUnavailable: 2,
  AuthorityUnavailable: 5,
  NotReady: 2
}

/** For a refusal that means "again"; `undefined` for "never". */
export function retryAfter(refusal: Refusal): number | undefined {
  return refusal.retryAfterSeconds ?? retryAfterSeconds[refusal.code]
}
