/**
 * Translates a container of a pod into the place in KubeRay's resources where its author can edit it.
 *
 * A refusal is read by somebody who wrote a RayCluster and has never seen the pod. Text only; decides nothing.
 */
import type { Pod } from '../kubernetes/objects.ts'
import { classify, type RayPod } from './classify.ts'
import { autoscalerContainer, rayContainerIndex, waitContainer } from './containers.ts'

/** KubeRay builds these without any field of a resource that reaches their securityContext. */
const withoutPlace = new Set(['ray-history-collector', 'ray-job-submitter'])

/** `container` undefined: the pod's own fields. Undefined where no resource has a place for it. */
export function placeInResource(pod: Pod, container: string | undefined): string | undefined {
  const template = templatePlace(classify(pod))
  if (template === undefined || container === undefined) return template
  if (container === autoscalerContainer) return 'spec.autoscalerOptions.securityContext'
  if (withoutPlace.has(container)) return undefined
  // The operator copies the Ray container's securityContext into these two.
  if (container === waitContainer || container === 'wait-for-tls-ip-san') {
    return `${template}.containers[${rayContainerIndex}]`
  }
  const index = pod.spec.containers.findIndex(({ name }) => name === container)
  if (index >= 0) return `${template}.containers[${index}]`
  return `${template}.initContainers[name=${container}]`
}

function templatePlace(ray: RayPod): string | undefined {
  switch (ray.kind) {
    case 'head':
    case 'redis-cleanup':
      return 'spec.headGroupSpec.template.spec'
    case 'worker':
      return `spec.workerGroupSpecs[groupName=${ray.groupName ?? '?'}].template.spec`
    case 'submitter':
      return 'spec.submitterPodTemplate.spec'
    case 'none':
      return undefined
  }
}
