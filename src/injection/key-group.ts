/**
 * Who may read the private key: the user of the Ray containers, or one group that they have.
 *
 * Never sets a new `fsGroup`: that would change the owner of every volume of the pod and open keys that are meant for one
 * user (https://github.com/kubernetes/kubernetes/issues/57923).
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import type { InjectionSettings } from './settings.ts'

export interface KeyReaders {
  /** The agent's own user and group. */
  user: number
  group: number
  /** The group that gets the key, mode 0440; without it the key belongs to the user alone, mode 0400. */
  keyGroup?: number
  /** True where the pod's supplemental groups must have it. */
  supplemental?: true
}

export function keyReaders(
  pod: Pod,
  tlsContainers: readonly Container[],
  settings: Pick<InjectionSettings, 'user' | 'keyGroup'>
): KeyReaders {
  const context = pod.spec.securityContext
  const user = commonUser(pod, tlsContainers)
  if (user !== undefined) return { user, group: settings.user }
  // The kubelet gives an emptyDir to this group and sets the setgid bit, and every container is a member.
  const fsGroup = context?.fsGroup
  if (typeof fsGroup === 'number') {
    return { user: settings.user, group: settings.user, keyGroup: fsGroup }
  }
  return {
    user: settings.user,
    group: settings.keyGroup,
    keyGroup: settings.keyGroup,
    supplemental: true
  }
}

/** The one explicit user, not root, of all containers that mount the key. */
function commonUser(pod: Pod, containers: readonly Container[]): number | undefined {
  const users = new Set(
    containers.map(
      ({ securityContext }) => securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser
    )
  )
  const [user] = users
  return users.size === 1 && typeof user === 'number' && user > 0 ? user : undefined
}
