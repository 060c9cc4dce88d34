/**
 * What people read of an answer: warnings, the audit annotation and the message of a refusal, each within its limit.
 *
 * The API server cuts warnings past 4 096 characters in all; KubeRay puts a refusal into an event that is dropped when it
 * is too long (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response).
 */
import type { PodSecurityMode } from '../contract/pod.ts'
import type { Finding, Injection } from '../injection/outcome.ts'
import type { Modes } from './modes.ts'

export const maximumWarning = 256
const maximumWarnings = 4000
const maximumAudit = 1000
const maximumRefusal = 600

export function warningTexts(findings: readonly Finding[], podSecurity: PodSecurityMode): string[] {
  const said = findings.filter(
    ({ kind, id }) =>
      kind === 'change' ||
      (kind === 'notice' && id !== 'NotRay') ||
      (kind === 'violation' && podSecurity === 'warn')
  )
  return fitting(merge(said).map(warning))
}

/** One text as a warning. */
export function warning(text: string): string {
  return cut(plain(`rayguard: ${text}`), maximumWarning)
}

/** As many from the first on as the API server lets through, and how many that leaves out. */
export function fitting(texts: readonly string[]): string[] {
  let length = 0
  const shown = texts.filter(text => {
    length += text.length
    return length <= maximumWarnings - maximumWarning
  })
  const more = texts.length - shown.length
  return more > 0 ? [...shown, `rayguard: ${more} more`] : shown
}

/**
 * For the API server's audit log, which puts the name of the webhook before each key: what held, what became of the pod, and
 * in the mode `audit` what stands against it.
 */
export function auditTexts(modes: Modes, injection: Injection): Record<string, string> {
  const violations = modes.podSecurity === 'audit' ? auditText(injection.findings) : undefined
  return {
    modes: modesText(modes),
    decision: injection.allowed ? `${injection.kind} tls=${injection.tls}` : injection.code,
    ...(violations === undefined ? {} : { 'pod-security-violations': violations })
  }
}

export function modesText({ tls, podSecurity }: Modes): string {
  return `tls=${tls} pod-security=${podSecurity}`
}

export function auditText(findings: readonly Finding[]): string | undefined {
  return joined(merge(findings.filter(({ kind }) => kind === 'violation')))
}

/** As the value of an audit annotation; undefined for none. */
export function joined(texts: readonly string[]): string | undefined {
  return texts.length > 0 ? cut(plain(texts.join('; ')), maximumAudit) : undefined
}

export function refusalText(code: string, reason: string): string {
  return cut(plain(`${code}: ${reason}`), maximumRefusal)
}

/** One text for equal findings of several containers. */
function merge(findings: readonly Finding[]): string[] {
  const groups = new Map<string, { finding: Finding; containers: string[] }>()
  for (const finding of findings) {
    const key = `${finding.id} ${finding.reason}`
    const group = groups.get(key) ?? { finding, containers: [] }
    groups.set(key, group)
    if (finding.container !== undefined) group.containers.push(finding.container)
  }
  return [...groups.values()].map(({ finding: { id, reason }, containers }) => {
    if (containers.length === 0) return `${id}: ${reason}`
    const names = containers.slice(0, 3).map(name => `"${name.slice(0, 40)}"`)
    const more =
      containers.length > names.length ? ` and ${containers.length - names.length} more` : ''
    return `${id}: ${names.join(', ')}${more}: ${reason}`
  })
}

/** Printable ASCII: the texts travel in a header and through terminals. */
function plain(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?')
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 3)}...` : text
}
