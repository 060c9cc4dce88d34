/**
 * Environment variables, compared in the fields that we set and merged without taking anything away.
 */
import type { Container, EnvVar } from '../kubernetes/objects.ts'
import type { Edits } from './edits.ts'
import type { Path } from './pointer.ts'

/** The API server writes the version of a field's object back. */
export function isSameVariable(found: EnvVar, wanted: EnvVar): boolean {
  const field = wanted.valueFrom?.fieldRef?.fieldPath
  if (field === undefined) return found.value === wanted.value && !found.valueFrom
  const ref = found.valueFrom?.fieldRef
  return !found.value && ref?.fieldPath === field && (ref.apiVersion ?? 'v1') === 'v1'
}

/** Appends what the container lacks. Its other variables are not looked at. */
export function addVariables(
  edits: Edits,
  at: Path,
  container: Container,
  wanted: readonly EnvVar[]
): void {
  const lacking = container.env
    ? wanted.filter(variable => !container.env?.some(({ name }) => name === variable.name))
    : wanted
  if (lacking.length > 0) edits.append([...at, 'env'], ...lacking)
}

/** For a container of ours: every variable with a wanted name gets the wanted value, whatever it was. */
export function putVariables(
  edits: Edits,
  at: Path,
  container: Container,
  wanted: readonly EnvVar[]
): void {
  const values = new Map(wanted.map(variable => [variable.name, variable]))
  container.env?.forEach((found, index) => {
    const variable = values.get(found.name)
    if (variable && !isSameVariable(found, variable)) edits.put([...at, 'env', index], variable)
  })
  addVariables(edits, at, container, wanted)
}
