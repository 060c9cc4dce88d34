/**
 * May the pod of a token have a certificate at all? Read fresh from the API: a token outlives its pod by a minute and is
 * cached for ten seconds more, a name may belong to another pod by now.
 */
import { enrollContainer } from '../contract/pod.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { imageFault, injectionFault } from './injected.ts'
import { type Refusal, refuse } from './refusal.ts'
import type { Holder } from './token.ts'

/** `undefined`: nothing against it. */
export function podFault(
  pod: Pod,
  holder: Holder,
  audience: string,
  images: readonly string[]
): Refusal | undefined {
  const { metadata, spec, status } = pod
  // A pod that was deleted and made again under the same name has another UID.
  if (metadata.uid !== holder.podUid)
    return refuse('PodMismatch', `the pod of that name has the UID ${metadata.uid}`)
  if (spec.serviceAccountName !== holder.serviceAccount)
    return refuse('PodMismatch', `the pod runs as ${spec.serviceAccountName}`)
  // Attack: a kubelet shows the token of a pod on another node.
  if (holder.nodeName !== undefined && holder.nodeName !== spec.nodeName)
    return refuse('PodMismatch', `the pod is on ${spec.nodeName}, its token on ${holder.nodeName}`)
  if (metadata.deletionTimestamp) return refuse('PodTerminating', 'the pod is being deleted')
  if (status?.phase === 'Succeeded' || status?.phase === 'Failed')
    return refuse('PodFinished', `the phase of the pod is ${status.phase}`)
  // Its addresses are the node's: the certificate would speak for the kubelet and every such pod.
  if (spec.hostNetwork) return refuse('PodHostNetwork', 'the pod is on the network of its node')
  const fault = injectionFault(pod, audience)
  if (fault !== undefined) return refuse('PodNotInjected', fault)
  const image = imageFault(pod, images)
  if (image !== undefined) return refuse('ImageNotKnown', image)
  // Attack: who may create tokens for the pod, or exec into it, enrolls in its place once it runs. A new sandbox runs the
  // init container anew and its status lags behind, so that this is "again", not "never".
  const [ours] = (status?.initContainerStatuses ?? []).filter(one => one.name === enrollContainer)
  if (ours?.state?.terminated?.exitCode === 0)
    return refuse('AlreadyEnrolled', `${enrollContainer} has ended with success`)
  return undefined
}
