/**
 * The refusal of a pod that violates `restricted`, short enough to reach its author.
 *
 * KubeRay puts the whole message into an event, and an event of more than 1 024 bytes is dropped without a trace
 * (https://github.com/kubernetes/kubernetes/issues/98175).
 */
import type { Pod } from '../kubernetes/objects.ts'
import { placeInResource } from '../ray/places.ts'
import { type Finding, type Refusal, refuse } from './outcome.ts'

/** Of the reason; with its code before it the refusal stays below the 600 bytes that admission allows. */
const maximumLength = 580
/** Of what is said about the first violation. */
const maximumAdvice = 120
const maximumPlace = 200
const maximumContainers = 4
const maximumName = 63

export function violationRefusal(pod: Pod, findings: readonly Finding[]): Refusal | undefined {
  const violations = findings.filter(({ kind }) => kind === 'violation')
  const [first] = violations
  if (first === undefined) return undefined
  const byId = groupById(violations)
  const head = `${byId.size} violation(s) of Pod Security "restricted": `
  // What to do is made first: the list before it has what room is left, and is cut on a whole entry.
  const tail = `. ${advice(pod, first)}.`
  const entries = [...byId].map(([id, of]) => `${id}${containersOf(of)}`)
  const room = maximumLength - head.length - tail.length - ' (+19 more)'.length
  const shown = fitting(entries, room)
  const more = entries.length > shown.length ? ` (+${entries.length - shown.length} more)` : ''
  return refuse('PodSecurity', `${head}${shown.join('; ')}${more}${tail}`)
}

/** About the first violation, and where its author can mend it. */
function advice(pod: Pod, { container, reason }: Finding): string {
  const place = placeInResource(pod, container)
  const subject = container === undefined ? '' : `"${container.slice(0, maximumName)}" `
  const edit = place === undefined ? '' : `; edit ${place.slice(0, maximumPlace)}`
  return `${subject}${reason.slice(0, maximumAdvice)}${edit}`
}

/** Cut on a whole entry; the first one always stands, if need be by its id alone. */
function fitting(entries: readonly string[], room: number): string[] {
  const shown: string[] = []
  let length = 0
  for (const entry of entries) {
    length += entry.length + (shown.length > 0 ? 2 : 0)
    if (length > room) break
    shown.push(entry)
  }
  const [first = ''] = entries
  return shown.length > 0 ? shown : [first.split(' (', 1)[0] ?? '']
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
