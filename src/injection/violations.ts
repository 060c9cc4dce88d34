/**
 * The refusal of a pod that violates `restricted`, short enough to reach its author.
 *
 * KubeRay puts the whole message into an event, and an event of more than 1 024 bytes is dropped without a trace
 * (https://github.com/kubernetes/kubernetes/issues/98175).
 */
import type { Pod } from '../kubernetes/objects.ts'
import { placeInResource } from '../ray/places.ts'
import { type Finding, type Refusal, refuse } from './outcome.ts'

/** Of all entries; leaves room for what to do. */
const maximumLength = 260
const maximumContainers = 4
const maximumName = 63

export function violationRefusal(pod: Pod, findings: readonly Finding[]): Refusal | undefined {
  const violations = findings.filter(({ kind }) => kind === 'violation')
  const [first] = violations
  if (first === undefined) return undefined
  const byId = groupById(violations)
  const entries = fitting([...byId].map(([id, of]) => `${id}${containersOf(of)}`))
  const more = byId.size > entries.length ? ` (+${byId.size - entries.length} more)` : ''
  const place = placeInResource(pod, first.container)
  const subject = first.container === undefined ? '' : `"${first.container.slice(0, maximumName)}" `
  return refuse(
    'PodSecurity',
    `${byId.size} violation(s) of Pod Security "restricted": ${entries.join('; ')}${more}. ` +
      `${subject}${first.reason.slice(0, 150)}${place ? `; edit ${place}` : ''}.`
  )
}

/** Cut on a whole entry; the first one always stands. */
function fitting(entries: readonly string[]): string[] {
  let length = 0
  return entries.filter((entry, index) => {
    length += entry.length + 2
    return index === 0 || length <= maximumLength
  })
}

function groupById(violations: readonly Finding[]): Map<string, Finding[]> {
  const groups = new Map<string, Finding[]>()
  for (const violation of violations) {
    const group = groups.get(violation.id)
    if (group) group.push(violation)
    else groups.set(violation.id, [violation])
  }
  return groups
}

function containersOf(findings: readonly Finding[]): string {
  const names = findings.flatMap(({ container }) => (container === undefined ? [] : [container]))
  if (names.length === 0) return ''
  const shown = names.slice(0, maximumContainers).map(name => name.slice(0, maximumName))
  const more = names.length > shown.length ? `, +${names.length - shown.length}` : ''
  return ` (${shown.join(', ')}${more})`
}
