/**
 * Which RayCluster a pod belongs to, whether it is its head, and which Services are the head's.
 *
 * Labels, names and owner references can be written by a pod's author. So each is followed to the object that it names
 * and back by UID, and the head is whom the RayCluster itself names.
 */
import { type Calls, type RayKind, type RayVersion, rayVersions } from '../kubernetes/calls.ts'
import type { KubernetesObject, OwnerReference, Pod, RayCluster } from '../kubernetes/objects.ts'
import { clusterLabel, nodeTypeLabel, own } from '../ray/classify.ts'
import { headServiceCandidates, headServiceNames } from '../ray/head-service.ts'
import { canonicalAddress } from '../x509/names.ts'
import { type Proof, refuse } from './refusal.ts'

export type Role = 'head' | 'worker'

/** The RayCluster that controls the pod, read by name and UID. */
export async function owningCluster(
  calls: Pick<Calls, 'rayObject'>,
  pod: Pod
): Promise<Proof<{ rayCluster: RayCluster }>> {
  const owner = controllerOf(pod)
  if (!isRay(owner, 'RayCluster'))
    return refuse('RayClusterRequired', `the controller of the pod is ${described(owner)}`)
  const rayCluster = await calls.rayObject<RayCluster>(pod.metadata.namespace ?? '', owner)
  if (!rayCluster) return refuse('RayClusterNotFound', `there is no RayCluster ${owner.name}`)
  // Attack: an owner reference with the name of somebody's RayCluster and an invented UID, or of one long gone.
  if (rayCluster.metadata.uid !== owner.uid)
    return refuse('RayClusterNotFound', `the RayCluster ${owner.name} has another UID`)
  if (rayCluster.metadata.deletionTimestamp)
    return refuse('RayClusterNotFound', `the RayCluster ${owner.name} is being deleted`)
  return { allowed: true, rayCluster }
}

/** Attack: the label `ray.io/node-type=head` on a worker, from the start or by a later patch. */
export function roleOf(
  pod: Pod,
  rayCluster: RayCluster,
  addresses: readonly string[]
): Proof<{ role: Role }> {
  const labels = pod.metadata.labels ?? {}
  const clusterName = own(labels, clusterLabel)
  if (clusterName !== rayCluster.metadata.name)
    return refuse('RoleUnknown', `the label ${clusterLabel} is ${JSON.stringify(clusterName)}`)
  const nodeType = own(labels, nodeTypeLabel)
  if (nodeType === 'worker') return { allowed: true, role: 'worker' }
  if (nodeType !== 'head')
    return refuse('RoleUnknown', `the label ${nodeTypeLabel} is ${JSON.stringify(nodeType)}`)
  const head = rayCluster.status?.head ?? {}
  // KubeRay before 1.0 says where the head is, not which pod it is.
  const named =
    head.podName === undefined
      ? addresses.includes(canonicalAddress(head.podIP ?? '') ?? '')
      : head.podName === pod.metadata.name
  if (named) return { allowed: true, role: 'head' }
  return refuse('HeadNotKnown', `the RayCluster names ${head.podName || head.podIP || 'no head'}`)
}

/**
 * The Service of the RayCluster's head: the first candidate that exists and that this RayCluster controls. Attack:
 * `headService.metadata.name` is free text, and may name another cluster's Service.
 */
export async function headServiceOf(
  calls: Calls,
  rayCluster: RayCluster
): Promise<Proof<{ headService: string }>> {
  const candidates = headServiceCandidates(rayCluster)
  for (const headService of candidates)
    if (await controls(calls, rayCluster, headService)) return { allowed: true, headService }
  return refuse('HeadServiceNotKnown', `no Service of the RayCluster among: ${candidates}`)
}

/** `<owner>-head-svc` of the RayService or RayJob that controls the RayCluster: what people and Ray clients use. */
export async function stableServiceOf(
  calls: Calls,
  rayCluster: RayCluster
): Promise<string | undefined> {
  const reference = controllerOf(rayCluster)
  if (!isRay(reference, 'RayService', 'RayJob')) return undefined
  const namespace = rayCluster.metadata.namespace ?? ''
  const owner = await calls.rayObject(namespace, reference)
  if (owner?.metadata.uid !== reference.uid) return undefined
  for (const name of headServiceNames(reference.name).filter(isLabel)) {
    const service = await calls.service(namespace, name)
    if (service && controllerOf(service)?.uid === owner.metadata.uid) return name
    // KubeRay makes it only when Ray answers, which needs the certificate first. Another's Service stays another's.
    if (!service) return name
  }
  return undefined
}

/** The headless Service of `hostname.subdomain` names, if the pod asks for such a name and the RayCluster controls it. */
export async function subdomainOf(
  calls: Calls,
  pod: Pod,
  rayCluster: RayCluster
): Promise<string | undefined> {
  const { hostname, subdomain } = pod.spec
  if (!hostname || !subdomain || !isLabel(hostname) || !isLabel(subdomain)) return undefined
  return (await controls(calls, rayCluster, subdomain)) ? subdomain : undefined
}

async function controls(calls: Calls, rayCluster: RayCluster, service: string): Promise<boolean> {
  const found = await calls.service(rayCluster.metadata.namespace ?? '', service)
  return found !== undefined && controllerOf(found)?.uid === rayCluster.metadata.uid
}

/** The API server allows one controller; several, or none, is none. */
function controllerOf(object: KubernetesObject): OwnerReference | undefined {
  const controllers = (object.metadata.ownerReferences ?? []).filter(owner => owner.controller)
  return controllers.length === 1 ? controllers[0] : undefined
}

function isRay(
  owner: OwnerReference | undefined,
  ...kinds: RayKind[]
): owner is OwnerReference & { apiVersion: RayVersion; kind: RayKind } {
  return (
    owner !== undefined &&
    kinds.some(kind => kind === owner.kind) &&
    rayVersions.some(version => version === owner.apiVersion)
  )
}

function described(owner: OwnerReference | undefined): string {
  return owner === undefined ? 'nobody' : `the ${owner.apiVersion} ${owner.kind} ${owner.name}`
}

function isLabel(name: string): boolean {
  return /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name)
}
