/** How often a pod may ask, and how many certificates it and its namespace may have. */
import { createHash } from 'node:crypto'
import { createQuota } from '../flow/quota.ts'
import { type Refusal, refuse } from '../identity/refusal.ts'
import type { Holder } from '../identity/token.ts'

export interface QuotaOptions {
  /** Certificates within an hour. */
  quota: { perPod: number; perNamespace: number }
  checkSourceAddress: boolean
  /** Milliseconds since the epoch. */
  clock: () => number
}

export interface Quotas {
  /** Before anything is known of who asks. */
  attempt(token: string, source: string | undefined): Refusal | undefined
  /** Takes a certificate of the pod's and of the namespace's. */
  certificate(holder: Holder): Refusal | undefined
  /** One that was not made after all. */
  giveBack(holder: Holder): void
}

const hourSeconds = 3600

export function createQuotas({ quota, checkSourceAddress, clock }: QuotaOptions): Quotas {
  const hourly = (burst: number) => createQuota({ burst, periodSeconds: hourSeconds, clock })
  const perPod = hourly(quota.perPod)
  const perNamespace = hourly(quota.perNamespace)
  // A pod asks about once a second; each attempt costs several calls to the API.
  const attempts = createQuota({ burst: 30, periodSeconds: 15, clock })
  const attemptsOfSource = createQuota({ burst: 120, periodSeconds: 15, clock })

  return {
    /**
     * Attack: one token shown over and over (keyed by its digest, so that no token is kept), or a new one each time from one
     * pod, each of them a TokenReview. Where sources are not checked many pods may share an address.
     */
    attempt(token, source) {
      const wait =
        attempts.take(createHash('sha256').update(token).digest('base64')) ||
        (checkSourceAddress ? attemptsOfSource.take(source ?? '') : 0)
      return wait === 0 ? undefined : exceeded('too many attempts', wait)
    },
    certificate({ podUid, namespace }) {
      const podWait = perPod.take(podUid)
      if (podWait > 0) return exceeded('of the pod', podWait)
      const namespaceWait = perNamespace.take(namespace)
      if (namespaceWait === 0) return undefined
      perPod.giveBack(podUid)
      return exceeded('of the namespace', namespaceWait)
    },
    giveBack({ podUid, namespace }) {
      perPod.giveBack(podUid)
      perNamespace.giveBack(namespace)
    }
  }
}

function exceeded(reason: string, retryAfterSeconds: number): Refusal {
  return { ...refuse('QuotaExceeded', reason), retryAfterSeconds }
}
