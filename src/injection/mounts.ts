/**
 * Where volumes are mounted, compared as paths.
 *
 * A mount at, under or above a directory of ours would replace, hide or redirect what the agent writes there: with it a
 * pod's author, or another webhook, could slip in another key or read ours. Such a pod is refused.
 */
import type { Container, VolumeMount } from '../kubernetes/objects.ts'
import type { Edits } from './edits.ts'
import { type Refusal, refuse } from './outcome.ts'
import type { Path } from './pointer.ts'
import { quote } from './quote.ts'

/** Undefined unless another mount of the container meets the directory; the wanted volume itself is no conflict there. */
export function refuseOverlap(container: Container, wanted: VolumeMount): Refusal | undefined {
  for (const mount of container.volumeMounts ?? []) {
    if (!overlaps(mount.mountPath, wanted.mountPath) || isSamePlace(mount, wanted)) continue
    return refuse(
      'MountConflict',
      `The container ${quote(container.name)} mounts the volume ${quote(mount.name)} at ${quote(mount.mountPath)}, ` +
        `which meets ${wanted.mountPath}; mount it elsewhere.`
    )
  }
  return undefined
}

/** Adds the mount, or corrects whether it can be written to. */
export function putMount(edits: Edits, at: Path, container: Container, wanted: VolumeMount): void {
  const index = container.volumeMounts?.findIndex(mount => isSamePlace(mount, wanted)) ?? -1
  if (index < 0) edits.append([...at, 'volumeMounts'], wanted)
  else if ((container.volumeMounts?.[index]?.readOnly ?? false) !== (wanted.readOnly ?? false)) {
    edits.put([...at, 'volumeMounts', index, 'readOnly'], wanted.readOnly ?? false)
  }
}

/** `subPath` would mount something else than the volume. */
function isSamePlace(mount: VolumeMount, wanted: VolumeMount): boolean {
  return (
    mount.name === wanted.name &&
    mount.mountPath === wanted.mountPath &&
    !mount.subPath &&
    !mount.subPathExpr
  )
}

/** True when one of the two paths is the other or lies above it. */
export function overlaps(one: string, other: string): boolean {
  const [a, b] = [segments(one), segments(other)]
  const common = Math.min(a.length, b.length)
  for (let index = 0; index < common; index += 1) if (a[index] !== b[index]) return false
  return true
}

/** As a container runtime reads it: from the root, without empty and `.` members, `..` taken back. */
function segments(path: string): string[] {
  const result: string[] = []
  for (const member of path.split('/')) {
    if (member === '..') result.pop()
    else if (member !== '' && member !== '.') result.push(member)
  }
  return result
}
