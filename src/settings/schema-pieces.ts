/** What the schema of the settings is made of: TypeBox types with a description, a default and a format of formats.ts. */
import { type TSchema, Type } from 'typebox'
import type { FormatName } from './formats.ts'

export function section<P extends Record<string, TSchema>>(description: string, properties: P) {
  return Type.Object(properties, { additionalProperties: false, default: {}, description })
}

/** A section that may be left out as a whole; with keys of its own that may not. */
export function choice<P extends Record<string, TSchema>>(description: string, properties: P) {
  return Type.Object(properties, { additionalProperties: false, description })
}

/** A section in several forms, of which its key `kind` chooses one; the first where it is left out. */
export function variants<V extends TSchema[]>(description: string, types: [...V]) {
  return Type.Union(types, { description })
}

export function variant<K extends string, P extends Record<string, TSchema>>(
  kind: K,
  description: string,
  properties: P
) {
  const chosen = Type.Literal(kind, { default: kind, description: `\`${kind}\`: ${description}` })
  return Type.Object({ kind: chosen, ...properties }, { additionalProperties: false })
}

export function path(description: string, options: { default?: string } = {}) {
  return text('path', description, options)
}

export function text(format: FormatName, description = '', options: { default?: string } = {}) {
  return Type.String({ ...options, format, description })
}

export function identifier(description: string, options: { default: number }) {
  return Type.Integer({ ...options, minimum: 1, maximum: 2_147_483_647, description })
}

export function list<T extends TSchema>(items: T, description: string) {
  return Type.Array(items, { default: [], uniqueItems: true, description })
}
