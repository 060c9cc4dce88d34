/**
 * The RayCluster that a pod says it belongs to: its controlling owner, as KubeRay writes it.
 *
 * A claim of the pod's author, not a proof: who signs follows it to the object and back (`identity/cluster.ts`). Takes
 * anything, because at admission nobody has looked at the pod's shape yet.
 */
export interface ClusterReference {
  apiVersion: string
  name: string
  uid: string
}

export function controllingRayCluster(pod: unknown): ClusterReference | undefined {
  const references = member(member(pod, 'metadata'), 'ownerReferences')
  if (!Array.isArray(references)) return undefined
  // The API server lets one owner alone be the controller.
  const controller = references.find(reference => member(reference, 'controller') === true)
  const apiVersion = member(controller, 'apiVersion')
  const name = member(controller, 'name')
  const uid = member(controller, 'uid')
  if (member(controller, 'kind') !== 'RayCluster') return undefined
  if (typeof apiVersion !== 'string' || !apiVersion.startsWith('ray.io/')) return undefined
  return typeof name === 'string' && typeof uid === 'string' ? { apiVersion, name, uid } : undefined
}

function member(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
  return (value as Record<string, unknown>)[key]
}
