/** Holds a value against the schema and says in words everything that is wrong with it; fills in what was left out. */
import { formatNamed } from './formats.ts'
import {
  isSection,
  kindsOf,
  type Path,
  type Problem,
  type SchemaNode,
  shown,
  variantFor
} from './node.ts'

/** All problems, in the order of the schema; none when the value is right. */
export function problemsOf(node: SchemaNode, value: unknown, path: Path = []): Problem[] {
  if (node.anyOf !== undefined) return variantProblems(node, value, path)
  if (node.properties !== undefined) return sectionProblems(node, node.properties, value, path)
  if (node.items !== undefined) return listProblems(node, node.items, value, path)
  if (accepts(node, value)) return []
  // Never the text of a file setting: it may be a passphrase that was put in the wrong place.
  const found =
    node.format === 'path' && typeof value === 'string'
      ? `a text of ${value.length} characters that is none`
      : shown(value)
  return [{ path, message: `expected ${expected(node)}, found ${found}` }]
}

/** A copy of `value` in which every key that was left out has its default. Anything of a wrong type is left as it is. */
export function withDefaults(node: SchemaNode, value: unknown): unknown {
  const given = value === undefined ? structuredClone(node.default) : value
  if (node.anyOf !== undefined) {
    const variant = isSection(given) ? variantFor(node, given) : undefined
    return variant === undefined ? given : withDefaults(variant, given)
  }
  if (node.properties === undefined || !isSection(given)) return given
  const filled: Record<string, unknown> = { ...given }
  for (const [key, child] of Object.entries(node.properties)) {
    const complete = withDefaults(child, Object.hasOwn(given, key) ? given[key] : undefined)
    if (complete !== undefined) filled[key] = complete
  }
  return filled
}

function variantProblems(node: SchemaNode, value: unknown, path: Path): Problem[] {
  const kinds = alternatives(kindsOf(node))
  if (!isSection(value)) {
    return [{ path, message: `expected a section of kind ${kinds}, found ${shown(value)}` }]
  }
  const variant = variantFor(node, value)
  if (variant !== undefined) return problemsOf(variant, value, path)
  return [{ path: [...path, 'kind'], message: `expected ${kinds}, found ${shown(value.kind)}` }]
}

function sectionProblems(
  node: SchemaNode,
  properties: Record<string, SchemaNode>,
  value: unknown,
  path: Path
): Problem[] {
  if (!isSection(value)) {
    const keys = Object.keys(properties).join(', ')
    return [{ path, message: `expected a section with the keys ${keys}, found ${shown(value)}` }]
  }
  const problems = Object.entries(properties).flatMap(([key, child]) => {
    const childPath = [...path, key]
    if (Object.hasOwn(value, key)) return problemsOf(child, value[key], childPath)
    return node.required?.includes(key)
      ? [{ path: childPath, message: `is missing: expected ${expected(child)}` }]
      : []
  })
  const unknown = Object.keys(value).filter(key => !Object.hasOwn(properties, key))
  return [
    ...problems,
    ...unknown.map(key => ({
      path: [...path, key],
      message: `there is no such key; ${suggestion(key, Object.keys(properties))}`
    }))
  ]
}

function listProblems(node: SchemaNode, items: SchemaNode, value: unknown, path: Path): Problem[] {
  if (!Array.isArray(value)) {
    return [{ path, message: `expected a list, found ${shown(value)}` }]
  }
  if (value.length < (node.minItems ?? 0)) {
    return [{ path, message: `expected at least one of: ${expected(items)}` }]
  }
  const repeated = value.flatMap((item, index) =>
    value.indexOf(item) < index
      ? [{ path: [...path, index], message: `${shown(item)} stands in the list already` }]
      : []
  )
  return [
    ...value.flatMap((item, index) => problemsOf(items, item, [...path, index])),
    ...(node.uniqueItems ? repeated : [])
  ]
}

function accepts(node: SchemaNode, value: unknown): boolean {
  if (node.const !== undefined) return value === node.const
  if (node.enum !== undefined) return typeof value === 'string' && node.enum.includes(value)
  switch (node.type) {
    case 'boolean':
      return typeof value === 'boolean'
    case 'integer':
      return (
        Number.isSafeInteger(value) &&
        (value as number) >= (node.minimum ?? -Infinity) &&
        (value as number) <= (node.maximum ?? Infinity)
      )
    default:
      return (
        typeof value === 'string' &&
        (node.format === undefined || formatNamed(node.format).accepts(value))
      )
  }
}

/** What stands after the word "expected". */
export function expected(node: SchemaNode): string {
  if (node.const !== undefined) return String(node.const)
  if (node.enum !== undefined) return alternatives(node.enum)
  if (node.properties !== undefined || node.anyOf !== undefined) return 'a section'
  if (node.items !== undefined) return `a list of ${expected(node.items)}`
  if (node.type === 'boolean') return 'true or false'
  if (node.type === 'integer') return `a whole number from ${node.minimum} to ${node.maximum}`
  return node.format === undefined ? 'a text' : formatNamed(node.format).expected
}

function alternatives(values: readonly string[]): string {
  return values.length === 1
    ? `${values[0]}`
    : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`
}

/** The known name that is nearest to what was written, if one is near enough to be meant. */
export function suggestion(written: string, known: readonly string[]): string {
  const near = known
    .map(name => ({ name, distance: editDistance(written.toLowerCase(), name.toLowerCase()) }))
    .sort((one, other) => one.distance - other.distance)[0]
  const { length } = near?.name ?? ''
  return near !== undefined && near.distance <= Math.max(Math.min(2, length - 2), length / 3)
    ? `did you mean ${near.name}?`
    : `the known ones are ${known.join(', ')}`
}

/** Levenshtein's, over one row. Texts far longer than any key are not compared. */
function editDistance(one: string, other: string): number {
  if (one.length > 100) return Number.POSITIVE_INFINITY
  let row = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (let i = 1; i <= one.length; i++) {
    const next = [i]
    for (let j = 1; j <= other.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[other.length] ?? 0
}
