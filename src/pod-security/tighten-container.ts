/**
 * The fields of one container that can be made safe.
 *
 * A container that asks for a privilege keeps everything as it is: tightening would not make it comply, and could break what
 * it asks the privilege for.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import {
  effectiveAppArmor,
  effectiveNonRoot,
  effectiveSeccomp,
  effectiveUser,
  forbiddenCapabilities,
  inUserNamespace,
  isWindows
} from './effective.ts'
import type { Change, Path } from './tighten-change.ts'

/** `path`: of the container. */
export function tightenContainer(
  changes: Change[],
  pod: Pod,
  container: Container,
  path: Path
): void {
  const context = container.securityContext
  const user = effectiveUser(pod, container) ?? 0
  if (context?.runAsNonRoot === false && user > 0 && !inUserNamespace(pod)) {
    const at = [...path, 'securityContext', 'runAsNonRoot']
    changes.push({ action: 'replace', path: at, value: true, found: false })
  }
  // The API server refuses the other two on a Windows pod.
  if (isWindows(pod) || asksForMore(pod, container)) return
  if ((context?.allowPrivilegeEscalation ?? undefined) === undefined) {
    const at = [...path, 'securityContext', 'allowPrivilegeEscalation']
    changes.push({ action: 'set', path: at, value: false })
  }
  if (!context?.capabilities?.drop?.includes('ALL')) {
    const at = [...path, 'securityContext', 'capabilities', 'drop']
    changes.push({ action: 'append', path: at, value: 'ALL' })
  }
}

/**
 * True for a container that asks for a privilege that `restricted` never allows. Beside it `allowPrivilegeEscalation: false`
 * can also be an error: the API server refuses it with `privileged` and with CAP_SYS_ADMIN
 * (https://github.com/kubernetes/kubernetes/issues/119568).
 */
export function asksForMore(pod: Pod, container: Container): boolean {
  const context = container.securityContext
  const user = effectiveUser(pod, container)
  return (
    context?.privileged === true ||
    context?.allowPrivilegeEscalation === true ||
    forbiddenCapabilities(container).length > 0 ||
    effectiveSeccomp(pod, container) === 'Unconfined' ||
    user === 0 ||
    (user === undefined && effectiveNonRoot(pod, container) === false) ||
    (context?.procMount ?? 'Default') !== 'Default' ||
    effectiveAppArmor(pod, container) === 'Unconfined'
  )
}
