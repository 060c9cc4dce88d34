/**
 * Does a pod carry our init container as it was injected? Whoever enrolls must be that container: nothing else in the pod
 * gets the token, and its image is ours.
 *
 * Looks only at the fields that we set, and at what makes other code run there: the API server, LimitRanger and other webhooks
 * add theirs.
 */
import { foreignCode, foreignMount } from '../contract/enroll-container.ts'
import {
  enrollCommand,
  enrollContainer,
  tokenDirectory,
  tokenFile,
  tokenVolume
} from '../contract/pod.ts'
import type { Container, Pod, Volume } from '../kubernetes/objects.ts'

/**
 * An image of the init container that is not among ours, or `undefined`. `images`: the current one, former ones that
 * running pods may still have, and the names that mirrors give them.
 */
export function imageFault(pod: Pod, images: readonly string[]): string | undefined {
  const ours = pod.spec.initContainers?.find(({ name }) => name === enrollContainer)
  if (images.includes(ours?.image ?? '')) return undefined
  return `${enrollContainer} has the image ${ours?.image ?? '(none)'}, which is not among ours`
}

/** What else is not as it was injected, or `undefined`. */
export function injectionFault(pod: Pod, audience: string): string | undefined {
  const ours = (pod.spec.initContainers ?? []).filter(({ name }) => name === enrollContainer)
  const [container] = ours
  if (container === undefined || ours.length > 1)
    return `${ours.length} init containers are called ${enrollContainer}; one was expected`
  if (!equalLists(container.command, enrollCommand) || (container.args ?? []).length > 0)
    return `${enrollContainer} runs another command`
  if (container.restartPolicy) return `${enrollContainer} is a sidecar`
  return codeFault(container) ?? tokenFault(pod, container, audience)
}

/** Attack: with our image and command, a mount over the program or a variable makes other code the holder of the token. */
function codeFault(container: Container): string | undefined {
  const code = foreignCode(container)
  if (code) return `${enrollContainer} may run other code: ${code}`
  const found = foreignMount(container)
  return (
    found && `${enrollContainer} mounts the volume ${found.mount.name}, which meets ${found.place}`
  )
}

/** Attack: another container of the pod (added by its author, a sidecar, an ephemeral one) mounts our token. */
function tokenFault(pod: Pod, ours: Container, audience: string): string | undefined {
  const volumes = (pod.spec.volumes ?? []).filter(({ name }) => name === tokenVolume)
  if (volumes.length !== 1 || !isOurToken(volumes[0], audience))
    return `the volume ${tokenVolume} is not the projected token that was injected`
  const mounts = mountsOf(ours)
  if (mounts.length !== 1 || mounts[0]?.mountPath !== tokenDirectory || mounts[0].subPath)
    return `${enrollContainer} does not mount ${tokenVolume} as it was injected`
  const { initContainers, containers, ephemeralContainers } = pod.spec
  const other = [...(initContainers ?? []), ...containers, ...(ephemeralContainers ?? [])].find(
    container => container !== ours && mountsOf(container).length > 0
  )
  return other && `the container ${other.name} mounts ${tokenVolume} too`
}

function mountsOf(container: Container) {
  return (container.volumeMounts ?? []).filter(({ name }) => name === tokenVolume)
}

function isOurToken(volume: Volume | undefined, audience: string): boolean {
  const sources = volume?.projected?.sources ?? []
  const token = sources[0]?.serviceAccountToken
  return sources.length === 1 && token?.audience === audience && token.path === tokenFile
}

function equalLists(one: readonly string[] | null | undefined, other: readonly string[]): boolean {
  return one?.length === other.length && other.every((item, at) => item === one[at])
}
