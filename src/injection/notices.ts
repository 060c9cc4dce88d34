/**
 * What is worth saying about a pod that is not a violation. Each is a function of the final pod, so that a second pass says
 * the same; only what was changed is said once.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'
import { isWindowsByNodesAlone } from '../pod-security/effective.ts'
import { type KnownImage, mayNotStart } from '../pod-security/known-images.ts'
import type { Change } from '../pod-security/tighten-change.ts'
import { type ContainerList, eachContainer } from '../pod-security/walk.ts'
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

export function securityNotices(pod: Pod): Finding[] {
  const findings: Finding[] = []
  if (isWindowsByNodesAlone(pod)) {
    const reason = 'the pod selects Windows nodes, but is no Windows pod; set spec.os.name: windows'
    findings.push({ kind: 'notice', id: 'WindowsNodes', reason })
  }
  // `allowPrivilegeEscalation: false` disables sudo, which the Ray images offer and some samples use.
  eachContainer(pod, container => {
    if (container.securityContext?.allowPrivilegeEscalation !== false) return
    if (!usesSudo(container)) return
    const reason = 'calls sudo, which has no effect with allowPrivilegeEscalation=false'
    findings.push({ kind: 'notice', id: 'Sudo', container: container.name, reason })
  })
  return findings
}

function usesSudo({ command, args, lifecycle }: Container): boolean {
  return (
    callsSudo(command) ||
    callsSudo(args) ||
    // A hook that fails ends its container.
    callsSudo(lifecycle?.postStart?.exec?.command) ||
    callsSudo(lifecycle?.preStop?.exec?.command)
  )
}

function callsSudo(words: readonly string[] | null | undefined): boolean {
  return words?.some(text => text.includes('sudo') && /\bsudo\b/.test(text)) === true
}

/** What was overwritten, and which containers may not start with what was set. `pod`: with the changes made. */
export function changeNotices(
  pod: Pod,
  changes: readonly Change[],
  images: readonly KnownImage[]
): Finding[] {
  const findings: Finding[] = []
  const setOn = new Set<Container | 'pod'>()
  for (const change of changes) {
    const [, list, index] = change.path
    const container =
      typeof index === 'number' ? pod.spec[list as ContainerList]?.[index] : undefined
    if (change.action === 'set' && change.path.at(-1) === 'runAsNonRoot') {
      setOn.add(container ?? 'pod')
    }
    if (change.action !== 'replace' && change.action !== 'remove') continue
    const reason = tightenedText(change)
    const of = container === undefined ? {} : { container: container.name }
    findings.push({ kind: 'change', id: 'Tightened', ...of, reason })
  }
  if (setOn.size === 0) return findings
  eachContainer(pod, container => {
    const inherits = (container.securityContext?.runAsNonRoot ?? undefined) === undefined
    if (!setOn.has(container) && !(setOn.has('pod') && inherits)) return
    if (mayNotStart(pod, container, images)) findings.push(unknownUser(container))
  })
  return findings
}

export function unknownUser({ name }: Container): Finding {
  const reason = 'the kubelet starts it only if its image names a numeric user; set runAsUser'
  return { kind: 'change', id: 'UnknownUser', container: name, reason }
}

/** No value of the pod's: of a removed user and a false boolean there is nothing more to say. */
function tightenedText({ path, ...change }: Change): string {
  const field = path.at(-1)
  if (change.action === 'remove') return `the pod's ${field}=0, which no container gets, is removed`
  if (field === 'runAsNonRoot')
    return 'runAsNonRoot=false, without effect beside runAsUser, is true'
  return `the pod's ${field} Unconfined, which no container gets, is RuntimeDefault`
}
