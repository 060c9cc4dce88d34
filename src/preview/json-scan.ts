/**
 * Finds the end of one JSON value in a text, and refuses what JSON.parse lets through: keys that stand twice or are never
 * valid.
 *
 * Without recursion: the nesting is the writer's choice.
 */
import { keyProblem, maximumDepth, type TextProblem } from './text-problem.ts'

export type Scan = { end: number } | TextProblem

type Expectation = 'value' | 'first-value' | 'key' | 'first-key' | 'colon' | 'next'

/** The keys of an object that is open; undefined for a list. */
type Open = Set<string> | undefined

export function scanJson(text: string, start: number): Scan {
  const open: Open[] = []
  let expectation: Expectation = 'value'
  let offset = start
  for (;;) {
    offset = skipSpace(text, offset)
    const character = text[offset]
    if (character === undefined) return malformed('the text ends within a value', offset)
    const inObject = open.length > 0 && open[open.length - 1] !== undefined
    if (expectation === 'next') {
      if (character === ',') {
        expectation = inObject ? 'key' : 'value'
        offset += 1
        continue
      }
      if (character !== (inObject ? '}' : ']')) {
        return malformed(`expected a comma or ${inObject ? '}' : ']'}`, offset)
      }
    }
    if (expectation === 'colon') {
      if (character !== ':') return malformed('expected a colon', offset)
      expectation = 'value'
      offset += 1
      continue
    }
    const closes =
      expectation === 'next' ||
      (expectation === 'first-key' && character === '}') ||
      (expectation === 'first-value' && character === ']')
    if (closes) {
      open.pop()
      offset += 1
      if (open.length === 0) return { end: offset }
      expectation = 'next'
      continue
    }
    if (expectation === 'key' || expectation === 'first-key') {
      const end = character === '"' ? endOfString(text, offset) : undefined
      if (end === undefined) return malformed('expected a key in double quotes', offset)
      const key = JSON.parse(text.slice(offset, end)) as string
      const keys = open[open.length - 1] as Set<string>
      const problem = keyProblem(key, keys, offset)
      if (problem !== undefined) return problem
      expectation = 'colon'
      offset = end
      continue
    }
    if (character === '{' || character === '[') {
      if (open.length >= maximumDepth)
        return { code: 'TooDeep', problem: 'nested too deeply', offset }
      open.push(character === '{' ? new Set() : undefined)
      expectation = character === '{' ? 'first-key' : 'first-value'
      offset += 1
      continue
    }
    const end = endOfScalar(text, offset)
    if (end === undefined) return malformed('expected a value', offset)
    if (open.length === 0) return { end }
    expectation = 'next'
    offset = end
  }
}

function malformed(problem: string, offset: number): TextProblem {
  return { code: 'Malformed', problem, offset }
}

function skipSpace(text: string, offset: number): number {
  let at = offset
  while (at < text.length && ' \t\r\n'.includes(text[at] as string)) at += 1
  return at
}

function endOfScalar(text: string, offset: number): number | undefined {
  if (text[offset] === '"') return endOfString(text, offset)
  const scalar = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/y
  scalar.lastIndex = offset
  return scalar.test(text) ? scalar.lastIndex : undefined
}

/** Undefined where the string does not end, or has something in it that JSON does not allow. */
function endOfString(text: string, offset: number): number | undefined {
  for (let at = offset + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === 0x22) return at + 1
    if (code < 0x20) return undefined
    if (code !== 0x5c) continue
    const escaped = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y
    escaped.lastIndex = at + 1
    if (!escaped.test(text)) return undefined
    at = escaped.lastIndex - 1
  }
  return undefined
}
