/**
 * The RayCluster that a pod says it belongs to: its controlling owner, as KubeRay writes it.
 *
 * A claim of the object's author, not a proof: who signs follows it to the object and back (`identity/cluster.ts`). Takes
 * anything, because at admission nobody has looked at the pod's shape yet.
 */
export interface ClusterReference {
  apiVersion: string
  name: string
  uid: string
}

export function controllingRayCluster(pod: unknown): ClusterReference | undefined {
  const controller = controllerOf(pod)
  const apiVersion = member(controller, 'apiVersion')
  const name = member(controller, 'name')
  const uid = member(controller, 'uid')
  if (member(controller, 'kind') !== 'RayCluster') return undefined
  if (typeof apiVersion !== 'string' || !apiVersion.startsWith('ray.io/')) return undefined
  return typeof name === 'string' && typeof uid === 'string' ? { apiVersion, name, uid } : undefined
}

/** True of what KubeRay makes of another Ray resource, as the RayCluster of a RayJob. */
export function isMadeOfRayResource(object: unknown): boolean {
  const apiVersion = member(controllerOf(object), 'apiVersion')
  return typeof apiVersion === 'string' && apiVersion.startsWith('ray.io/')
}

/** The API server lets one owner alone be the controller. */
function controllerOf(object: unknown): unknown {
  const references = member(member(object, 'metadata'), 'ownerReferences')
  if (!Array.isArray(references)) return undefined
  return references.find(reference => member(reference, 'controller') === true)
}

function member(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
  return (value as Record<string, unknown>)[key]
}
