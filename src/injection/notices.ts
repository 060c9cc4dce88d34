/**
 * What is worth saying about a pod that is not a violation. Each is a function of the final pod, so that a second pass says
 * the same.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import { eachContainer } from '../pod-security/walk.ts'
import { isEnroll } from './enroll-container.ts'
import { isMesh } from './mesh.ts'
import type { Finding } from './outcome.ts'

export function tlsNotices(pod: Pod): Finding[] {
  const findings: Finding[] = []
  const containers = pod.spec.initContainers ?? []
  const enroll = containers.findIndex(isEnroll)
  for (const { name } of containers.slice(0, Math.max(0, enroll)).filter(isMesh)) {
    const reason = "runs before Rayguard's own, whose request then goes through the mesh"
    findings.push({ kind: 'notice', id: 'MeshFirst', container: name, reason })
  }
  if (pod.spec.shareProcessNamespace && enroll >= 0) {
    const reason =
      "the containers of the pod share their processes, so each can read the others' files"
    findings.push({ kind: 'notice', id: 'SharedProcesses', reason })
  }
  return findings
}

/** `allowPrivilegeEscalation: false` disables sudo, which the Ray images offer and some samples use. */
export function sudoNotices(pod: Pod): Finding[] {
  const findings: Finding[] = []
  eachContainer(pod, container => {
    if (container.securityContext?.allowPrivilegeEscalation !== false) return
    if (!usesSudo(container)) return
    const reason = 'calls sudo, which has no effect with allowPrivilegeEscalation=false'
    findings.push({ kind: 'notice', id: 'Sudo', container: container.name, reason })
  })
  return findings
}

function usesSudo({ command, args }: Container): boolean {
  return [...(command ?? []), ...(args ?? [])].some(
    text => text.includes('sudo') && /\bsudo\b/.test(text)
  )
}
