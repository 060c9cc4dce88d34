/** The pieces of which the upstream library builds its texts, so that ours read the same to the letter. */

export function quoted(items: readonly string[]): string {
  return `"${items.join('", "')}"`
}

export function plural(singular: string, count: number, several = `${singular}s`): string {
  return count === 1 ? singular : several
}

/** `container "a"`, `containers "a", "b"`. */
export function named(what: string, names: readonly string[]): string {
  return `${plural(what, names.length)} ${quoted(names)}`
}

/** `pod and containers "a", "b"`. */
export function setters(pod: boolean, containers: readonly string[]): string {
  if (containers.length === 0) return 'pod'
  return `${pod ? 'pod and ' : ''}${named('container', containers)}`
}

/** Each once, in the order of their bytes: Go's, which differs from JavaScript's past the basic plane. */
export function sorted(items: Iterable<string>): string[] {
  return [...new Set(items)].sort(compareBytes)
}

export function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right))
}

const escapes: Record<string, string> = {
  '"': '\\"',
  '\\': '\\\\',
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v'
}

/** As Go's `%q` writes a string (https://pkg.go.dev/strconv#Quote). */
export function quotedAsGo(text: string): string {
  let inner = ''
  for (const character of text) inner += escapes[character] ?? printable(character)
  return `"${inner}"`
}

function printable(character: string): string {
  if (character === ' ' || /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(character)) return character
  const code = character.codePointAt(0) as number
  // Half of a pair: Go has read it as the replacement character.
  if (code >= 0xd800 && code <= 0xdfff) return '\ufffd'
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, '0')}`
  return code < 0x10000
    ? `\\u${code.toString(16).padStart(4, '0')}`
    : `\\U${code.toString(16).padStart(8, '0')}`
}
