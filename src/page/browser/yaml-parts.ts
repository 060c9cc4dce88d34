/**
 * One line of YAML in parts, to be coloured; together they are the line.
 *
 * Reads as a person would at a glance. It decides nothing.
 */

export interface Part {
  kind: 'plain' | 'key' | 'mark' | 'string'
  text: string
}

/** Longer lines are texts or data, and nobody reads their colours. */
const maximumLength = 500

export function partsOf(line: string): Part[] {
  if (line.length > maximumLength) return [{ kind: 'plain', text: line }]
  const parts: Part[] = []
  const add = (kind: Part['kind'], text = '') => {
    if (text !== '') parts.push({ kind, text })
  }
  const [, marks, rest = ''] = /^((?:\s*-(?=\s|$))*\s*)(.*)$/s.exec(line) ?? []
  add('mark', marks)
  const [, key, colon, value] = /^("[^"]*"|'[^']*'|[^\s"'#][^:]*)(:)(?=\s|$)(.*)$/s.exec(rest) ?? []
  add('key', key)
  add('mark', colon)
  const text = key === undefined ? rest : (value ?? '')
  add(/^\s*["']/.test(text) ? 'string' : 'plain', text)
  return parts
}
