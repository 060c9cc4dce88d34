/**
 * PURE: which names a pod's certificate holds, from facts that have been proven.
 *
 * Never reads a label, an annotation or a certificate request. Every name goes back to an address that the API shows or to
 * a Service that it confirms.
 */
import { serviceFqdn } from '../ray/head-service.ts'
import { type CertificateNames, canonicalNames } from '../x509/names.ts'

export interface ProvenFacts {
  namespace: string
  /** Canonical, from the status of the pod. */
  addresses: readonly string[]
  /** The pod's own name below a headless Service of its RayCluster. */
  hostname?: { hostname: string; subdomain: string } | undefined
  /** Services that lead to this pod; empty for a worker. */
  headServices: readonly string[]
}

export interface NamingOptions {
  clusterDomain: string
  /** Also `service`, `service.namespace` and `service.namespace.svc`: any other namespace has the same first one. */
  shortNames: boolean
}

/** Ray connects to its own node by these. */
const loopback: CertificateNames = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1'] }

/** Canonical; `undefined` if a fact is not a well-formed name, which the API would not have stored. */
export function certificateNames(
  facts: ProvenFacts,
  options: NamingOptions
): CertificateNames | undefined {
  const { namespace, hostname } = facts
  const own = hostname
    ? [`${hostname.hostname}.${serviceFqdn(hostname.subdomain, namespace, options.clusterDomain)}`]
    : []
  return canonicalNames({
    dnsNames: [
      ...loopback.dnsNames,
      ...facts.headServices.flatMap(service => serviceNames(service, namespace, options)),
      ...own
    ],
    ipAddresses: [...loopback.ipAddresses, ...facts.addresses]
  })
}

function serviceNames(service: string, namespace: string, options: NamingOptions): string[] {
  const whole = serviceFqdn(service, namespace, options.clusterDomain)
  if (!options.shortNames) return [whole]
  return [whole, `${service}.${namespace}.svc`, `${service}.${namespace}`, service]
}
