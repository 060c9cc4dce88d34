/**
 * What is fixed about the two server certificates that Rayguard keeps for itself: names in the cluster and lifetimes.
 *
 * Two Secrets, so that the process that parses what users write never holds the key that pods trust.
 */
export type ServingComponent = 'webhook' | 'enrollment'

/** Who may have a certificate that was made here. */
export type CertifiedComponent = ServingComponent | 'preview'

export interface Profile {
  component: CertifiedComponent
  namespace: string
  /** Name of the Secret with the CA and the server certificate. */
  secret: string
  /** DNS names of the server certificate; the API server asks for the first (`SERVICE.NAMESPACE.svc`). */
  dnsNames: string[]
  authorityLifetimeMs: number
  leafLifetimeMs: number
  /** Between the day on which a successor is announced and its first use. */
  settleMs: number
  /** For how long a CA that signs no more is still announced. */
  formerMs: number
  /** Whether an unreadable CA is replaced at once. Nothing but the caBundle knows the webhook's; pods hold the other. */
  startsOver: boolean
}

const day = 86_400_000

export function profileOf(
  component: ServingComponent,
  { namespace, clusterDomain }: { namespace: string; clusterDomain: string }
): Profile {
  const service = `rayguard-${component}.${namespace}.svc`
  return {
    component,
    namespace,
    secret: `rayguard-${component}-serving`,
    dnsNames: [service, `${service}.${clusterDomain}`],
    // The enrollment CA stands in the environment of running pods, which cannot change.
    authorityLifetimeMs: (component === 'webhook' ? 365 : 3650) * day,
    leafLifetimeMs: 90 * day,
    settleMs: 3_600_000,
    formerMs: 7 * day,
    startsOver: component === 'webhook'
  }
}

/** Where the enrollment component publishes its CA, and the webhook reads it. */
export const enrollmentCaConfigMap = 'rayguard-enrollment-ca'
export const enrollmentCaKey = 'ca.crt'

/** Peers whose clocks are behind must not find a fresh certificate "not yet valid". */
export const backdateMs = day

/** When two thirds of a certificate's time are over, as a time in milliseconds since the epoch. */
export function renewalTime(notBefore: Date, notAfter: Date): number {
  const from = notBefore.getTime() + backdateMs
  return from + ((notAfter.getTime() - from) * 2) / 3
}
