/** `RAYGUARD_*`: each key of the file has a variable of its own, which wins over the file. */
import { suggestion } from './check.ts'
import {
  isSection,
  kindsOf,
  type Path,
  type Problem,
  pathText,
  type SchemaNode,
  type Section
} from './node.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Where the file is; read by the commands, not a setting itself. */
export const fileVariable = 'RAYGUARD_CONFIG'

export interface Variable {
  name: string
  path: readonly string[]
  node: SchemaNode
  /** For keys of some kinds of a section only, which: `authority.kind` `pem`, `pkcs11`. */
  kinds?: { of: string; names: string[] }
  /** What each of those kinds takes where nothing is said. */
  defaults?: { kind: string; value: unknown }[]
}

/** One for each key that holds a value: `listen.webhook.port` is RAYGUARD_LISTEN_WEBHOOK_PORT. */
export function variablesOf(node: SchemaNode, path: readonly string[] = []): Variable[] {
  if (node.anyOf !== undefined) return variantVariables(node, node.anyOf, path)
  if (node.properties === undefined) return [{ name: variableName(path), path, node }]
  return Object.entries(node.properties).flatMap(([key, child]) =>
    variablesOf(child, [...path, key])
  )
}

/** Kinds that have a key in common share its variable. */
function variantVariables(
  node: SchemaNode,
  variants: readonly SchemaNode[],
  path: readonly string[]
): Variable[] {
  const kinds = kindsOf(node)
  const kind = {
    type: 'string',
    enum: kinds,
    default: kinds[0],
    description: variants.map(({ properties }) => properties?.kind?.description).join(' ')
  }
  const kindPath = [...path, 'kind']
  const found = new Map<string, Variable>()
  for (const [index, variant] of variants.entries()) {
    for (const variable of variablesOf(variant, path)) {
      const { name } = variable
      const former = found.get(name)
      const kind = kinds[index] ?? ''
      const names = [...(former?.kinds?.names ?? []), kind]
      const defaults = [...(former?.defaults ?? []), { kind, value: variable.node.default }]
      // The choice between kinds of something further down says more.
      const outer = { of: pathText(kindPath), names }
      found.set(name, { defaults, ...variable, kinds: variable.kinds ?? outer })
    }
  }
  found.set(variableName(kindPath), { name: variableName(kindPath), path: kindPath, node: kind })
  return [...found.values()]
}

function variableName(path: readonly string[]): string {
  const words = path.map(key => key.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase())
  return `RAYGUARD_${words.join('_')}`
}

export interface Overlay {
  value: unknown
  /** Which paths the environment has set, by the variable. */
  set: { path: Path; name: string }[]
  problems: Problem[]
}

/** `value` (what the file says) with what the environment says put over it. */
export function overlayEnvironment(
  node: SchemaNode,
  value: unknown,
  environment: Environment
): Overlay {
  const overlay: Overlay = { value: structuredClone(value), set: [], problems: [] }
  const variables = variablesOf(node)
  for (const { name, path, node: leaf } of variables) {
    const text = environment[name]
    if (text === undefined) continue
    overlay.set.push({ path, name })
    if (isSection(overlay.value)) put(overlay.value, path, read(leaf, text))
  }
  overlay.problems = unknownVariables(
    environment,
    variables.map(variable => variable.name)
  )
  return overlay
}

/** A text that is no number or boolean stays one, so that the check says what is wrong with it. */
function read(node: SchemaNode, text: string): unknown {
  if (node.items !== undefined) {
    return text.trim() === '' ? [] : text.split(',').map(item => item.trim())
  }
  if (node.type === 'integer' && /^\d{1,15}$/.test(text)) return Number(text)
  if (node.type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

/** Where the file has something else than a section, that is the problem to show, and nothing is put. */
function put(section: Section, path: readonly string[], value: unknown): void {
  const [key = '', ...rest] = path
  if (rest.length === 0) {
    section[key] = value
    return
  }
  if (!Object.hasOwn(section, key)) section[key] = {}
  const child = section[key]
  if (isSection(child)) put(child, rest, value)
}

/** A misspelt variable would leave a default in force unseen, of which some guard the cluster. */
function unknownVariables(environment: Environment, known: readonly string[]): Problem[] {
  return Object.keys(environment)
    .filter(name => name.startsWith('RAYGUARD_') && name !== fileVariable)
    .filter(name => !known.includes(name) && !isServiceLink(name, environment[name] ?? ''))
    .map(name => ({
      path: [name],
      message: `there is no such variable; ${suggestion(name, known).replace(/^the known.*/, 'docs/settings.md lists them')}`
    }))
}

/**
 * The kubelet gives pods such variables for every Service of their namespace, and ours are called rayguard-…
 * (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
 */
function isServiceLink(name: string, value: string): boolean {
  return serviceLinks.some(([ending, form]) => ending.test(name) && form.test(value))
}

/** The value too: by its name alone a misspelt …_PORT of ours would pass for one. */
const serviceLinks: [ending: RegExp, form: RegExp][] = [
  [/_SERVICE_HOST$/, /^[0-9a-f.:]+$/i],
  [/_SERVICE_PORT(_[A-Z0-9_]+)?$/, /^\d+$/],
  [/_PORT(_\d+_(TCP|UDP|SCTP))?$/, /^(tcp|udp|sctp):\/\//],
  [/_PORT_\d+_(TCP|UDP|SCTP)_PROTO$/, /^(tcp|udp|sctp)$/],
  [/_PORT_\d+_(TCP|UDP|SCTP)_PORT$/, /^\d+$/],
  [/_PORT_\d+_(TCP|UDP|SCTP)_ADDR$/, /^[0-9a-f.:]+$/i]
]
