import { problemsOf, withDefaults } from './check.ts'
import { readDocument } from './document.ts'
import { isSection, type SchemaNode } from './node.ts'
import { type SettingsFile, schema } from './schema.ts'

/**
 * One section alone of a settings file, whose other parts may stand elsewhere, as in the manifests. `undefined` where there is
 * none or it is wrong.
 */
export function sectionIn<Name extends 'authority' | 'clientCertificates'>(
  text: string,
  name: Name
): SettingsFile[Name] | undefined {
  const { value, problems } = readDocument(text)
  if (problems.length > 0 || !isSection(value) || value[name] === undefined) return undefined
  const node = schema.properties[name] as SchemaNode
  const section = withDefaults(node, value[name])
  return problemsOf(node, section).length > 0 ? undefined : (section as SettingsFile[Name])
}
