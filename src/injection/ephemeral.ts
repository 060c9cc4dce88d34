/**
 * Ephemeral containers that are added to a running pod (`pods/ephemeralcontainers`).
 *
 * Only new ones are touched, and only they: everything else of a running pod is immutable. One that mounts the pod's key or
 * token is refused, whatever else is asked.
 */
import { tlsVolume, tokenVolume } from '../contract/pod.ts'
import type { Container, Pod } from '../kubernetes/objects.ts'
import { type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'

export function newEphemeral(oldPod: Pod | undefined): (container: Container) => boolean {
  // From the API server it is what is stored; in a dry run it is whatever somebody writes.
  const former: unknown = oldPod?.spec?.ephemeralContainers
  const present = new Set(
    Array.isArray(former) ? former.map((each: Container | null) => each?.name) : []
  )
  return container => !present.has(container.name)
}

export function refuseEphemeralMounts(
  pod: Pod,
  isNew: (container: Container) => boolean
): Refusal | undefined {
  for (const container of pod.spec.ephemeralContainers ?? []) {
    const mount = container.volumeMounts?.find(
      ({ name }) => name === tlsVolume || name === tokenVolume
    )
    if (!mount || !isNew(container)) continue
    return refuse(
      mount.name === tlsVolume ? 'MountConflict' : 'TokenMounted',
      `The ephemeral container ${quote(container.name)} mounts the volume "${mount.name}" with the pod's identity; remove the mount.`
    )
  }
  return undefined
}
