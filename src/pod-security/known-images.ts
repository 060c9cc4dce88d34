/**
 * Images of which an administrator knows that they run as a numeric user that is not root.
 *
 * Decides whether `runAsNonRoot` can stop a container from starting, and which user to name where the pod names none. Never
 * names a user for an image that is not known: only the image's own user can write its home.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import { effectiveNonRoot, effectiveUser, isWindows, isWindowsByNodesAlone } from './effective.ts'
import type { Change, Path } from './tighten-change.ts'
import { asksForMore } from './tighten-container.ts'
import { eachContainer } from './walk.ts'

export interface KnownImage {
  /** A name without tag and digest; one that ends in `*` stands for all that begin so. */
  match: string
  /** Set where neither the container nor its pod names a user. */
  runAsUser?: number
}

/** `NAME` or `NAME=USER`, as settings have it; their form is looked at there. */
export function readKnownImage(text: string): KnownImage {
  const [match = '', user] = text.split('=')
  return user === undefined ? { match } : { match, runAsUser: Number(user) }
}

/** They end in a numeric `USER 1000` (docker/base-deps of Ray). */
export const rayImages: readonly KnownImage[] = [
  { match: 'rayproject/ray' },
  { match: 'rayproject/ray-llm' },
  { match: 'rayproject/ray-ml' }
]

/** What an administrator's `runAsUser` comes to in a pod. */
export function setUsers(
  pod: Pod,
  images: readonly KnownImage[],
  isMeant: (container: Container) => boolean = () => true
): Change[] {
  const changes: Change[] = []
  if (!images.some(({ runAsUser }) => runAsUser !== undefined)) return changes
  // Root in a user namespace is nobody outside, and may be what the image needs.
  if (isWindows(pod) || isWindowsByNodesAlone(pod) || pod.spec.hostUsers === false) {
    return changes
  }
  eachContainer(pod, (container, list, index) => {
    if (!isMeant(container) || effectiveUser(pod, container) !== undefined) return
    if (asksForMore(pod, container)) return
    const runAsUser = knownImage(container.image, images, true)?.runAsUser
    if (runAsUser === undefined) return
    const path: Path = ['spec', list, index, 'securityContext', 'runAsUser']
    changes.push({ action: 'set', path, value: runAsUser })
  })
  return changes
}

/** True where the kubelet may refuse to start the container, because nobody knows the image's user. */
export function mayNotStart(
  pod: Pod,
  container: Container,
  images: readonly KnownImage[]
): boolean {
  return (
    effectiveNonRoot(pod, container) === true &&
    effectiveUser(pod, container) === undefined &&
    !isWindows(pod) &&
    knownImage(container.image, images) === undefined &&
    knownImage(container.image, rayImages) === undefined
  )
}

/** The first entry that matches. */
function knownImage(
  image: string | undefined,
  images: readonly KnownImage[],
  withUser = false
): KnownImage | undefined {
  if (!image) return undefined
  const name = nameOf(image)
  return images.find(({ match, runAsUser }) => {
    if (withUser && runAsUser === undefined) return false
    const wanted = withoutDefaultRegistry(match)
    return wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted
  })
}

/** Without tag and digest (https://pkg.go.dev/github.com/distribution/reference). */
function nameOf(image: string): string {
  const [undigested = ''] = image.split('@', 1)
  const colon = undigested.lastIndexOf(':')
  const name = colon > undigested.lastIndexOf('/') ? undigested.slice(0, colon) : undigested
  return withoutDefaultRegistry(name)
}

/** `docker.io/` is what a name without a registry means. */
function withoutDefaultRegistry(name: string): string {
  return name.startsWith('docker.io/') ? name.slice('docker.io/'.length) : name
}
