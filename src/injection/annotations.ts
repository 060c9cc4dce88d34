/**
 * The annotations of the group `rayguard.dev/` on a pod: what its author may ask for.
 *
 * None of them can weaken anything. One that is not known is refused, because whoever wrote it believes in an effect.
 */
import {
  enrollContainer,
  netrcSecretAnnotation,
  reportAnnotation,
  tlsContainersAnnotation
} from '../contract/pod.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { own, type RayKind } from '../ray/classify.ts'
import { type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'

const group = 'rayguard.dev/'
const known = [netrcSecretAnnotation, reportAnnotation, tlsContainersAnnotation]
/** RFC 1123 subdomain, the form of a Secret's name. */
const objectName = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/

export interface Wishes {
  /** Further containers that get the certificate. */
  tlsContainers: string[]
  /** The Secret with the key `.netrc`. */
  netrcSecret?: string
}

/** A list that names every container of the largest pod is shorter. */
const maximumList = 32 * 1024

/**
 * `report` is ours and is not read. Containers are looked for on heads and workers only: KubeRay copies the annotations of a
 * head to its Redis cleanup, which has the Ray container alone, and refusing that would keep a RayCluster from its end.
 */
export function readAnnotations(
  pod: Pod,
  kind: RayKind
): { wishes: Wishes } | { refusal: Refusal } {
  const annotations = pod.metadata.annotations ?? {}
  const unknown = Object.keys(annotations).find(
    key => key.startsWith(group) && !known.includes(key)
  )
  if (unknown !== undefined) {
    return {
      refusal: refuse(
        'AnnotationUnknown',
        `The annotation ${quote(unknown)} is not known; known are ${known.join(', ')}. Remove or correct it.`
      )
    }
  }
  const wishes: Wishes = { tlsContainers: [] }
  const containers = own(annotations, tlsContainersAnnotation)
  if (containers !== undefined) {
    const expected = 'containers of the pod, with commas between'
    // The API server limits annotations only after admission; splitting megabytes would hold up every other pod.
    if (containers.length > maximumList)
      return invalid(tlsContainersAnnotation, expected, containers)
    wishes.tlsContainers = [...new Set(containers.split(',').map(name => name.trim()))]
    const missing = kind === 'head' || kind === 'worker' ? missingOf(pod, wishes.tlsContainers) : []
    if (missing[0] !== undefined) return invalid(tlsContainersAnnotation, expected, missing[0])
  }
  const secret = own(annotations, netrcSecretAnnotation)
  if (secret !== undefined) {
    if (secret.length > 253 || !objectName.test(secret)) {
      return invalid(netrcSecretAnnotation, 'a Secret in the namespace of the pod', secret)
    }
    wishes.netrcSecret = secret
  }
  return { wishes }
}

function missingOf(pod: Pod, wanted: readonly string[]): string[] {
  const { initContainers, containers } = pod.spec
  const present = new Set([...(initContainers ?? []), ...containers].map(({ name }) => name))
  present.delete(enrollContainer)
  return wanted.filter(name => !present.has(name))
}

function invalid(annotation: string, expected: string, found: string): { refusal: Refusal } {
  return {
    refusal: refuse(
      'AnnotationInvalid',
      `The annotation ${annotation} must name ${expected}; ${quote(found)} is none.`
    )
  }
}
