/**
 * How KubeRay names the head service of a RayCluster.
 *
 * Computes candidates only. That a Service of such a name exists and belongs to the RayCluster is for `identity` to prove.
 */
import type { RayCluster } from '../kubernetes/objects.ts'

const suffix = '-head-svc'
/** `CheckName` of KubeRay before v1.4 kept the last fifty characters. */
const oldLimit = 50
/** RFC 1123 §2.1, as Kubernetes reads it: a Service's name is one label. */
const label = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/

/**
 * The names that the head service may have, likeliest first, without duplicates. Only single RFC 1123 labels: a name such
 * as `*` or `a.b` in `headService.metadata.name` would otherwise become a name in a certificate.
 */
export function headServiceCandidates(rayCluster: RayCluster): string[] {
  const given = rayCluster.spec?.headGroupSpec?.headService?.metadata?.name
  const clusterName = rayCluster.metadata.name ?? ''
  const candidates = [
    rayCluster.status?.head?.serviceName,
    ...(given ? [given] : headServiceNames(clusterName))
  ]
  return [...new Set(candidates)].filter(
    (name): name is string => typeof name === 'string' && label.test(name)
  )
}

/** `<owner>-head-svc`, also for a RayService's or RayJob's stable service, and as KubeRay before v1.4 shortened it. */
export function headServiceNames(ownerName: string): string[] {
  if (ownerName === '') return []
  const name = `${ownerName}${suffix}`
  const shortened = checkedName(name)
  return name === shortened ? [name] : [name, shortened]
}

/** `CheckName`: the last fifty characters, and a leading digit or punctuation mark becomes `r`. */
function checkedName(name: string): string {
  const last = name.slice(-oldLimit)
  return /^[0-9.-]/.test(last) ? `r${last.slice(1)}` : last
}

/** `<service>.<namespace>.svc.<domain>`. */
export function serviceFqdn(service: string, namespace: string, clusterDomain: string): string {
  return `${service}.${namespace}.svc.${clusterDomain}`
}
