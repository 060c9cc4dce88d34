/** The part of JSON Schema that schema.ts uses, as the checks, the environment and the documentation walk over it. */
export interface SchemaNode {
  type?: string
  enum?: readonly string[]
  const?: unknown
  /** Sections of which the key `kind` chooses one. */
  anyOf?: readonly SchemaNode[]
  properties?: Record<string, SchemaNode>
  required?: readonly string[] | undefined
  items?: SchemaNode
  default?: unknown
  description?: string
  format?: string
  minimum?: number
  maximum?: number
  minItems?: number
  uniqueItems?: boolean
}

/** The way to a value: keys, and positions in lists. */
export type Path = readonly (string | number)[]

export interface Problem {
  path: Path
  /** What was expected and what was found. */
  message: string
}

export type Section = Record<string, unknown>

export function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What a `kind` may be, in the order of the schema. */
export function kindsOf(node: SchemaNode): string[] {
  return (node.anyOf ?? []).map(variant => String(variant.properties?.kind?.const))
}

/** The section that the value's `kind` chooses, the first one where there is none; `undefined` for an unknown kind. */
export function variantFor(node: SchemaNode, value: unknown): SchemaNode | undefined {
  if (!isSection(value) || !Object.hasOwn(value, 'kind')) return node.anyOf?.[0]
  return node.anyOf?.find(variant => variant.properties?.kind?.const === value.kind)
}

/** `injection.formerImages[0]`. */
export function pathText(path: Path): string {
  return path
    .map((step, index) =>
      typeof step === 'number' ? `[${step}]` : index === 0 ? quoted(step) : `.${quoted(step)}`
    )
    .join('')
}

function quoted(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(shortened(key))
}

/** What people wrote, for a message. A long text or one of several lines is not shown: it may be a key that was pasted. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a section'
  if (typeof value === 'string') {
    return value.length > 80 || value.includes('\n')
      ? `a text of ${value.length} characters`
      : JSON.stringify(value)
  }
  return String(value)
}

function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
