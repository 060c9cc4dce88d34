/**
 * Pod Security of a pod whose other parts are in place: what is mended, and what is found in the result.
 *
 * The standard and what may safely be changed belong to the room pod-security; here its changes become operations and its
 * violations findings.
 */
import type { Container, Pod, PodSecurityContext, SecurityContext } from '../kubernetes/objects.ts'
import { withDefaults } from '../pod-security/defaults.ts'
import { mayNotStart, setUsers } from '../pod-security/known-images.ts'
import { locate } from '../pod-security/locate.ts'
import { tighten, tightenEphemeral } from '../pod-security/tighten.ts'
import type { Change } from '../pod-security/tighten-change.ts'
import type { Edits } from './edits.ts'
import { changeNotices, securityNotices, unknownUser } from './notices.ts'
import type { Finding } from './outcome.ts'
import type { InjectionSettings } from './settings.ts'

type Settings = Pick<InjectionSettings, 'knownImages'>

/** The users that an administrator set for images. */
export function putUsers(edits: Edits, { knownImages = [] }: Settings): void {
  apply(edits, setUsers(edits.pod, knownImages))
}

/** Judges the final pod, so that nothing is admitted with a violation that is not said. */
export function secure(edits: Edits, { knownImages = [] }: Settings): Finding[] {
  const changes = tighten(edits.pod)
  apply(edits, changes)
  return violations(edits.pod).concat(
    securityNotices(edits.pod),
    changeNotices(edits.pod, changes, knownImages)
  )
}

/** Only new ones are changed and judged. */
export function secureEphemeral(
  edits: Edits,
  isNew: (container: Container) => boolean,
  { knownImages = [] }: Settings
): Finding[] {
  apply(edits, setUsers(edits.pod, knownImages, isNew))
  const changes = tightenEphemeral(edits.pod, isNew)
  apply(edits, changes)
  const { pod } = edits
  const added = pod.spec.ephemeralContainers?.filter(isNew) ?? []
  const mayFail = added.filter(container => mayNotStart(pod, container, knownImages))
  return violations(alone(pod, added)).concat(
    changeNotices(pod, changes, knownImages).filter(({ id }) => id === 'Tightened'),
    mayFail.map(unknownUser)
  )
}

/**
 * A pod of these containers alone, each with what it inherits as its own: what the running pod does wrong was said when it
 * was created, and what a new container gets from it has not been.
 */
function alone({ spec }: Pod, containers: readonly Container[]): Pod {
  const { hostUsers, os } = spec
  return {
    metadata: {},
    spec: {
      containers: [],
      ephemeralContainers: containers.map(container => ({
        ...container,
        securityContext: withInherited(container.securityContext, spec.securityContext)
      })),
      ...(hostUsers === undefined ? {} : { hostUsers }),
      ...(os === undefined ? {} : { os })
    }
  }
}

const inheritable = [
  'runAsUser',
  'runAsNonRoot',
  'seccompProfile',
  'appArmorProfile',
  'seLinuxOptions',
  'windowsOptions'
] as const

function withInherited(
  own: SecurityContext | null | undefined,
  ofPod: PodSecurityContext | null | undefined
): SecurityContext {
  const context: Record<string, unknown> = { ...own }
  for (const field of inheritable) context[field] ??= ofPod?.[field]
  return context
}

function apply(edits: Edits, changes: readonly Change[]): void {
  for (const change of changes) {
    if (change.action === 'append') edits.append(change.path, change.value)
    else if (change.action === 'remove') edits.remove(change.path)
    else edits.put(change.path, change.value)
  }
}

function violations(pod: Pod): Finding[] {
  return locate(withDefaults(pod)).map(violation => ({ kind: 'violation', ...violation }))
}
