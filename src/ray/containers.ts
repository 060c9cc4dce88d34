/**
 * Which containers of a Ray pod speak Ray's gRPC and so need the certificate.
 *
 * The Ray container is known by its index, the others by KubeRay's names for them
 * (`RayContainerIndex`, `AutoscalerContainerName` and the worker's default init container in KubeRay). Submitters use HTTP
 * and the Redis cleanup speaks to Redis: neither gets one.
 */
import type { Pod } from '../kubernetes/objects.ts'
import type { RayKind } from './classify.ts'

export const rayContainerIndex = 0
export const autoscalerContainer = 'autoscaler'
/** Copied from the Ray container inside the operator, before admission, so it has to be patched on its own. */
export const waitContainer = 'wait-gcs-ready'

/** Names, the Ray container first. */
export function rayContainers(pod: Pod, kind: RayKind): string[] {
  const ray = pod.spec.containers[rayContainerIndex]
  if (ray === undefined || (kind !== 'head' && kind !== 'worker')) return []
  const names = [ray.name]
  if (kind === 'head') {
    const autoscaler = pod.spec.containers.some(({ name }) => name === autoscalerContainer)
    if (autoscaler && ray.name !== autoscalerContainer) names.push(autoscalerContainer)
  } else if (pod.spec.initContainers?.some(({ name }) => name === waitContainer)) {
    names.push(waitContainer)
  }
  return names
}
