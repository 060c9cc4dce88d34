import { problemsOf, withDefaults } from './check.ts'
import { readDocument } from './document.ts'
import { isSection, type SchemaNode } from './node.ts'
import { type SettingsFile, schema } from './schema.ts'

/**
 * The section `authority` alone of a settings file, whose other parts may stand elsewhere, as in the manifests. `undefined`
 * where there is none or it is wrong.
 */
export function authorityIn(text: string): SettingsFile['authority'] {
  const { value, problems } = readDocument(text)
  if (problems.length > 0 || !isSection(value) || value.authority === undefined) return undefined
  const node = schema.properties.authority as SchemaNode
  const authority = withDefaults(node, value.authority)
  return problemsOf(node, authority).length > 0
    ? undefined
    : (authority as SettingsFile['authority'])
}
