/**
 * The names that the certificate of a pod will have, as far as they can be known before the pod runs.
 *
 * A picture for people. What is issued is decided at enrollment, from the running pod and its RayCluster.
 */
import { enrollContainer } from '../contract/pod.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { classify } from '../ray/classify.ts'
import { serviceFqdn } from '../ray/head-service.ts'
import type { CertificatePreview } from './schemas.ts'

/** Undefined for a pod that does not enroll. */
export function certificateOf(
  pod: Pod,
  options: {
    namespace: string
    clusterDomain: string
    keyAlgorithm: string
    headServices?: readonly string[]
  }
): CertificatePreview | undefined {
  const ray = classify(pod)
  const isNode = ray.kind === 'head' || ray.kind === 'worker'
  const enrolls = pod.spec.initContainers?.some(({ name }) => name === enrollContainer)
  if (!isNode || !enrolls) return undefined
  const dnsNames = ['localhost']
  if (ray.kind === 'head') {
    // Which Service that is stands in the RayCluster, not in the pod.
    const services = options.headServices?.map(service =>
      serviceFqdn(service, options.namespace, options.clusterDomain)
    )
    dnsNames.push(...(services ?? [`<head service of RayCluster ${ray.clusterName}>`]))
  }
  const { hostname, subdomain } = pod.spec
  if (hostname && subdomain) {
    dnsNames.push(serviceFqdn(`${hostname}.${subdomain}`, options.namespace, options.clusterDomain))
  }
  const encipherment = options.keyAlgorithm.startsWith('RSA') ? ['key encipherment'] : []
  return {
    dnsNames,
    ipAddresses: ['127.0.0.1', '::1', '<pod IP>'],
    usages: ['digital signature', ...encipherment, 'server auth', 'client auth']
  }
}
