/** The query of `POST /dry-run`. Unknown names are refused: a misspelt one would be as good as none. */
import { podSecurityModes, tlsModes } from '../contract/pod.ts'
import { type DryRunQuery, outputs } from './schemas.ts'

const choices: Record<keyof DryRunQuery, readonly string[]> = {
  output: outputs,
  diff: ['true', 'false'],
  profile: podSecurityModes,
  tls: tlsModes
}

export function readQuery(given: unknown): { query: DryRunQuery } | { problem: string } {
  for (const [name, value] of Object.entries(given as Record<string, unknown>)) {
    if (!Object.hasOwn(choices, name)) {
      const known = Object.keys(choices).join(', ')
      return { problem: `expected the query parameters ${known}, found ${shown(name)}` }
    }
    const known = choices[name as keyof DryRunQuery]
    if (typeof value !== 'string' || !known.includes(value)) {
      const expected = `${name} must be one of ${known.join(', ')}`
      return { problem: `${expected}; found ${shown(value)}` }
    }
  }
  return { query: given as DryRunQuery }
}

/** A list where a name is given twice. */
function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : 'more than one'
}
