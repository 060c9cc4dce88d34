/**
 * The annotation in which a pod says what was done to it, for people and for status commands.
 *
 * Bounded, and made from the final pod alone, so that a second pass writes the same. Nothing ever reads it to decide.
 */
import { reportAnnotation } from '../contract/pod.ts'
import { own } from '../ray/classify.ts'
import type { Edits } from './edits.ts'
import type { Finding } from './outcome.ts'

export interface Report {
  node: string
  /** `rayguard`: the pod enrolls; `other`: its own TLS was left alone; `none`. */
  tls: 'rayguard' | 'other' | 'none'
  tlsContainers: readonly string[]
  findings: readonly Finding[]
}

const maximumEntries = 20
const maximumName = 63

/** Nothing is written where there is nothing to say: a pod that complies already gets no patch at all. */
export function putReport(edits: Edits, { findings: all, ...rest }: Report): void {
  // A second pass changes nothing, and has to write the same.
  const report = { ...rest, findings: all.filter(({ kind }) => kind !== 'change') }
  const present = own(edits.pod.metadata.annotations ?? {}, reportAnnotation)
  const text = report.tls === 'none' && report.findings.length === 0 ? undefined : textOf(report)
  if (text === present) return
  const path = ['metadata', 'annotations', reportAnnotation]
  if (text === undefined) edits.remove(path)
  else edits.put(path, text)
}

function textOf({ node, tls, tlsContainers, findings }: Report): string {
  const more = findings.length - maximumEntries
  return JSON.stringify({
    node,
    tls,
    ...(tls === 'rayguard'
      ? { tlsContainers: tlsContainers.slice(0, maximumEntries).map(cut) }
      : {}),
    findings: findings
      .slice(0, maximumEntries)
      .map(({ id, container }) =>
        container === undefined ? { id } : { id, container: cut(container) }
      ),
    ...(more > 0 ? { more } : {})
  })
}

function cut(name: string): string {
  return name.slice(0, maximumName)
}
