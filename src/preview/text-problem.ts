/** What can be wrong with a text, in whichever of the two languages it is. */

export type TextProblemCode =
  | 'Malformed'
  | 'DuplicateKey'
  | 'ForbiddenKey'
  | 'TooDeep'
  | 'TooManyAliases'

export interface TextProblem {
  code: TextProblemCode
  problem: string
  offset: number
}

/** Far more than any object of Kubernetes has, and far less than JSON.stringify and the YAML reader can take. */
export const maximumDepth = 500

/**
 * Attacks: a key twice (RFC 8259 §4 leaves open which one counts, so two programs may read two different pods), and
 * `__proto__`, which is harmless here and maybe not in the next program that copies the object.
 */
export function keyProblem(
  key: string,
  before: Set<string>,
  offset: number
): TextProblem | undefined {
  if (key === '__proto__') {
    const problem = 'the key "__proto__" is never valid; remove it'
    return { code: 'ForbiddenKey', problem, offset }
  }
  if (before.has(key)) {
    const problem = `the key ${JSON.stringify(key.slice(0, 60))} stands twice; keep one of them`
    return { code: 'DuplicateKey', problem, offset }
  }
  before.add(key)
  return undefined
}
