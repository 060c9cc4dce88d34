/** docs/settings.md, made from the schema, so that it cannot say anything else than what is checked. */
import { expected } from './check.ts'
import { type Variable, variablesOf } from './environment.ts'
import type { SchemaNode } from './node.ts'
import { schema } from './schema.ts'

export function describeSettings(): string {
  const node = schema as SchemaNode
  return `# Settings

A YAML file, by default \`/etc/rayguard/config.yaml\`; \`--config FILE\` or \`RAYGUARD_CONFIG\` name another. Every key can
also be set by the environment variable beneath it, which wins over the file; lists are separated by commas there.
Unknown keys and variables are refused. \`rayguard check-config\` reports every problem at once.

A webhook and enrollment server in one process need at least this:

\`\`\`yaml
injection:
  image: registry.example/rayguard:0.1.0
authority:
  certificateFile: /etc/rayguard/authority/tls.crt
  privateKeyFile: /etc/rayguard/authority/tls.key
\`\`\`

<!-- Made from src/settings/schema.ts by describe.ts; a test says when it is out of date. -->

| key | meaning | value | default |
| --- | --- | --- | --- |
${rows(node)}

Sections:

${sections(node)}
`
}

function rows(node: SchemaNode): string {
  return variablesOf(node)
    .map(({ name, path, node: leaf, kinds, defaults }) =>
      [
        `\`${path.join('.')}\`<br>\`${name}\``,
        `${kinds === undefined ? '' : `With \`${kinds.of}\` ${kinds.names.map(kind => `\`${kind}\``).join(' or ')}: `}${leaf.description ?? ''}`,
        expected(leaf),
        defaultOf(leaf, defaults)
      ].join(' | ')
    )
    .map(row => `| ${row} |`)
    .join('\n')
}

/** Of each kind, where they differ. */
function defaultOf(leaf: SchemaNode, defaults: Variable['defaults'] = []): string {
  const written = (value: unknown) => `\`${JSON.stringify(value)}\``
  if (defaults.every(({ value }) => value === leaf.default)) {
    return leaf.default === undefined ? '' : written(leaf.default)
  }
  return defaults
    .filter(({ value }) => value !== undefined)
    .map(({ kind, value }) => `\`${kind}\`: ${written(value)}`)
    .join('; ')
}

function sections(node: SchemaNode, path: string[] = []): string {
  const children = [node, ...(node.anyOf ?? [])].flatMap(({ properties }) =>
    Object.entries(properties ?? {})
  )
  return children
    .filter(([, child]) => child.properties !== undefined || child.anyOf !== undefined)
    .map(([key, child]) => {
      const here = [...path, key]
      const inner = sections(child, here)
      return `- \`${here.join('.')}\`: ${child.description}${inner === '' ? '' : `\n${inner}`}`
    })
    .join('\n')
}
