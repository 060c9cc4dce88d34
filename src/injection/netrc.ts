/**
 * A Secret with a `.netrc` for the Ray container, where Ray downloads the files of a runtime environment.
 *
 * Python looks at the owner and mode of `~/.netrc` only, not of a file that `NETRC` names, so a Secret's file serves
 * (https://docs.ray.io/en/latest/ray-core/runtime_env_auth.html). Never mounted over the home directory, which has Python.
 */
import type { Container, Pod, VolumeMount } from '../kubernetes/objects.ts'
import { rayContainerIndex } from '../ray/containers.ts'
import type { Edits } from './edits.ts'
import { putMount, refuseOverlap } from './mounts.ts'
import { type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'
import { addVariables, isSameVariable } from './variables.ts'

const volumeName = 'rayguard-netrc'
const directory = '/etc/rayguard/netrc'
const file = '.netrc'
const variable = { name: 'NETRC', value: `${directory}/${file}` }
const mount: VolumeMount = { name: volumeName, mountPath: directory, readOnly: true }

export function refuseNetrc(pod: Pod, secretName: string): Refusal | undefined {
  const ray = pod.spec.containers[rayContainerIndex] as Container
  const other = ray.env?.find(
    found => found.name === variable.name && !isSameVariable(found, variable)
  )
  if (other) {
    return refuse(
      'NetrcVariable',
      `The container ${quote(ray.name)} sets NETRC already; remove that or the annotation.`
    )
  }
  const volume = pod.spec.volumes?.find(({ name }) => name === volumeName)
  if (volume && volume.secret?.secretName !== secretName) {
    return refuse(
      'ReservedVolume',
      `The volume name "${volumeName}" is reserved for the Secret of the annotation; rename the pod's own volume.`
    )
  }
  return refuseOverlap(ray, mount)
}

export function putNetrc(edits: Edits, secretName: string): void {
  if (!edits.pod.spec.volumes?.some(({ name }) => name === volumeName)) {
    edits.append(['spec', 'volumes'], {
      name: volumeName,
      // Readable by Ray whatever its user; only this one key of the Secret.
      secret: { secretName, defaultMode: 0o444, items: [{ key: file, path: file }] }
    })
  }
  const at = ['spec', 'containers', rayContainerIndex]
  const ray = edits.pod.spec.containers[rayContainerIndex] as Container
  addVariables(edits, at, ray, [variable])
  putMount(edits, at, ray, mount)
}
