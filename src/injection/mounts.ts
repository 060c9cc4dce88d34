/**
 * Where volumes are mounted, compared as paths.
 *
 * A mount at, under or above a directory of ours would replace, hide or redirect what the agent writes there: with it a
 * pod's author, or another webhook, could slip in another key or read ours. Such a pod is refused.
 */
import { isSameMount, overlaps } from '../contract/enroll-container.ts'
import type { Container, VolumeMount } from '../kubernetes/objects.ts'
import type { Edits } from './edits.ts'
import { type Refusal, refuse } from './outcome.ts'
import type { Path } from './pointer.ts'
import { quote } from './quote.ts'

/** Undefined unless another mount of the container meets the directory; the wanted volume itself is no conflict there. */
export function refuseOverlap(container: Container, wanted: VolumeMount): Refusal | undefined {
  for (const mount of container.volumeMounts ?? []) {
    if (!overlaps(mount.mountPath, wanted.mountPath) || isSameMount(mount, wanted)) continue
    return refuseMount(container, mount, wanted.mountPath)
  }
  return undefined
}

/** `place`: what it meets. */
export function refuseMount(container: Container, mount: VolumeMount, place: string): Refusal {
  return refuse(
    'MountConflict',
    `The container ${quote(container.name)} mounts the volume ${quote(mount.name)} at ${quote(mount.mountPath)}, ` +
      `which meets ${place}; mount it elsewhere.`
  )
}

/** Adds the mount, or corrects whether it can be written to. */
export function putMount(edits: Edits, at: Path, container: Container, wanted: VolumeMount): void {
  const index = container.volumeMounts?.findIndex(mount => isSameMount(mount, wanted)) ?? -1
  if (index < 0) edits.append([...at, 'volumeMounts'], wanted)
  else if ((container.volumeMounts?.[index]?.readOnly ?? false) !== (wanted.readOnly ?? false)) {
    edits.put([...at, 'volumeMounts', index, 'readOnly'], wanted.readOnly ?? false)
  }
}
