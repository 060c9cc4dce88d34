/**
 * Translates a container of a pod into the place in KubeRay's resources where its author can edit it.
 *
 * A refusal is read by somebody who wrote a RayCluster and has never seen the pod. Text only; decides nothing.
 */
import type { Pod } from '../kubernetes/objects.ts'
import { classify, type RayPod } from './classify.ts'
import { autoscalerContainer, rayContainerIndex, waitContainer } from './containers.ts'

/** Where the parts of a pod come from. */
export interface PodPlace {
  /** Of its spec; absent where KubeRay makes all of it. */
  template?: string
  /** Of the RayCluster's spec. */
  cluster?: string
}

/** KubeRay builds these into a head without any field of a resource that reaches their securityContext. */
const withoutPlace = new Set(['ray-history-collector', 'ray-job-submitter'])

/** `container` undefined: the pod's own fields. Undefined where no resource has a place for it. */
export function placeInResource(pod: Pod, container: string | undefined): string | undefined {
  const place = placeOfPod(classify(pod))
  // Ours stands before those of the template, and other webhooks' may: a name is surer than an index.
  return placeWithin(pod, place, container, name => `[name=${name}]`)
}

/** The same for a pod as KubeRay makes it, before any webhook has seen it. */
export function placeInTemplate(pod: Pod, place: PodPlace, container: string | undefined) {
  return placeWithin(pod, place, container, name => {
    const index = pod.spec.initContainers?.findIndex(each => each.name === name) ?? -1
    return index < 0 ? undefined : `[${index}]`
  })
}

function placeWithin(
  pod: Pod,
  { template, cluster }: PodPlace,
  container: string | undefined,
  initContainer: (name: string) => string | undefined
): string | undefined {
  if (template === undefined || container === undefined) return template
  if (cluster !== undefined) {
    if (container === autoscalerContainer) return `${cluster}.autoscalerOptions.securityContext`
    if (withoutPlace.has(container)) return undefined
  }
  // The operator copies the Ray container's securityContext into these two.
  if (container === waitContainer || container === 'wait-for-tls-ip-san') {
    return `${template}.containers[${rayContainerIndex}]`
  }
  const index = pod.spec.containers.findIndex(({ name }) => name === container)
  if (index >= 0) return `${template}.containers[${index}]`
  const at = initContainer(container)
  return at === undefined ? template : `${template}.initContainers${at}`
}

function placeOfPod(ray: RayPod): PodPlace {
  switch (ray.kind) {
    case 'head':
    case 'redis-cleanup':
      return { template: 'spec.headGroupSpec.template.spec', cluster: 'spec' }
    case 'worker': {
      const group = `spec.workerGroupSpecs[groupName=${ray.groupName ?? '?'}]`
      return { template: `${group}.template.spec`, cluster: 'spec' }
    }
    case 'submitter':
      // KubeRay may have made its container, or its author may call it so: no place is better than a wrong one.
      return { template: 'spec.submitterPodTemplate.spec', cluster: 'spec' }
    case 'none':
      return {}
  }
}
