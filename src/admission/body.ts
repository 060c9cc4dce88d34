/**
 * Reads the JSON of a request body and looks for keys that must not be in it.
 *
 * A key `__proto__` is harmless to this program and no valid member of any Kubernetes object; it is refused because the next
 * program that copies the object may not be as careful.
 */

export interface Body {
  value: unknown
  /** Where a key `__proto__` stands. */
  forbiddenKey?: string
}

/** Throws a SyntaxError. */
export function readBody(text: string): Body {
  const value: unknown = JSON.parse(text)
  // Only a text with the word, or with an escaped underscore, can have the key.
  if (!/__proto__|\\u005f/i.test(text)) return { value }
  const forbiddenKey = findForbiddenKey(value)
  return forbiddenKey === undefined ? { value } : { value, forbiddenKey }
}

/** Without recursion: the nesting is the sender's choice. */
function findForbiddenKey(root: unknown): string | undefined {
  const queue: { value: unknown; path: string }[] = [{ value: root, path: '' }]
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { value, path } = next
    if (typeof value !== 'object' || value === null) continue
    if (Object.hasOwn(value, '__proto__')) return path === '' ? 'the top level' : path.slice(1)
    for (const [key, child] of Object.entries(value)) {
      // A path is for people; far down it would cost more than it says.
      queue.push({ value: child, path: path.length > 200 ? path : `${path}.${key.slice(0, 63)}` })
    }
  }
  return undefined
}
