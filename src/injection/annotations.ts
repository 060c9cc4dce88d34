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
import { own } from '../ray/classify.ts'
import { quote, type Refusal, refuse } from './outcome.ts'

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

/** `report` is ours and is not read. */
export function readAnnotations(pod: Pod): { wishes: Wishes } | { refusal: Refusal } {
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
    wishes.tlsContainers = containers.split(',').map(name => name.trim())
    const missing = wishes.tlsContainers.find(name => !isContainer(pod, name))
    if (missing !== undefined) {
      return invalid(tlsContainersAnnotation, 'containers of the pod, with commas between', missing)
    }
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

function isContainer(pod: Pod, name: string): boolean {
  const { initContainers, containers } = pod.spec
  return (
    name !== enrollContainer &&
    [...(initContainers ?? []), ...containers].some(container => container.name === name)
  )
}

function invalid(annotation: string, expected: string, found: string): { refusal: Refusal } {
  return {
    refusal: refuse(
      'AnnotationInvalid',
      `The annotation ${annotation} must name ${expected}; ${quote(found)} is none.`
    )
  }
}
