/**
 * A text with any number of JSON or YAML documents as values, each with its number; or the first thing that is wrong.
 *
 * Documents follow a line `---`; JSON values may also follow each other, one a line or not.
 */
import { scanJson } from './json-scan.ts'
import { createPlaces, type Place } from './place.ts'
import type { TextProblem, TextProblemCode } from './text-problem.ts'
import { readYaml } from './yaml-document.ts'

export interface Document {
  /** From one. */
  number: number
  place: Place
  value: unknown
}

export interface DocumentProblem extends Place {
  code: TextProblemCode | 'Unsupported' | 'TooManyPods'
  document: number
  message: string
}

export function readDocuments(
  text: string
): { documents: Document[] } | { problem: DocumentProblem } {
  const documents: Document[] = []
  const placeOf = createPlaces(text)
  const unprintable = text.search(controlCharacter)
  if (unprintable >= 0) {
    const place = { document: 1, ...placeOf(unprintable) }
    const message = 'expected a text, found a control character'
    return { problem: { code: 'Malformed', ...place, message } }
  }
  let offset = 0
  for (;;) {
    offset = nextDocument(text, offset)
    if (offset >= text.length) return { documents }
    const number = documents.length + 1
    const end = isJson(text, offset) ? undefined : endOfYaml(text, offset)
    const read = end === undefined ? readJson(text, offset) : yamlAt(text, offset, end)
    if ('problem' in read) {
      const { code, problem: message } = read
      return { problem: { code, document: number, ...placeOf(read.offset), message } }
    }
    // A document of comments alone is none.
    if (read.value !== null) {
      documents.push({ number, place: placeOf(offset), value: read.value })
    }
    offset = read.end
  }
}

/** A brace with an unquoted key, a comment or an indicator after it opens a map of YAML (YAML 1.2.2 §7.4.2). */
function isJson(text: string, offset: number): boolean {
  const opening = /\{\s*(?:["}]|$)/y
  opening.lastIndex = offset
  return opening.test(text)
}

/** Neither YAML (1.2.2 §5.1) nor JSON has them; the YAML reader takes them for letters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const controlCharacter = /[\0-\x08\x0b\x0c\x0e-\x1f]/

type Read = { value: unknown; end: number } | TextProblem

/** Past white space, comments, empty documents and a byte order mark. */
function nextDocument(text: string, offset: number): number {
  const gap = /(?:[\s\uFEFF]|#[^\n]*|(?<=^|\n)---(?=\s|$))*/y
  gap.lastIndex = offset
  gap.test(text)
  return gap.lastIndex
}

function readJson(text: string, offset: number): Read {
  const scan = scanJson(text, offset)
  if ('problem' in scan) {
    return scan.code === 'Malformed' ? { ...scan, problem: `not JSON: ${scan.problem}` } : scan
  }
  const after = /[ \t\r]*/y
  after.lastIndex = scan.end
  after.test(text)
  const next = text[after.lastIndex]
  if (next !== undefined && next !== '\n' && next !== '{') {
    const problem = 'expected the end of the document after the last brace'
    return { code: 'Malformed', problem, offset: after.lastIndex }
  }
  return { value: JSON.parse(text.slice(offset, scan.end)), end: scan.end }
}

/** The next line that starts a document: in YAML no value can hold one (YAML 1.2.2 §9.1.2). */
function endOfYaml(text: string, offset: number): number {
  const marker = /\n---(?=\s|$)/g
  marker.lastIndex = offset
  const found = marker.exec(text)
  return found ? found.index + 1 : text.length
}

function yamlAt(text: string, offset: number, end: number): Read {
  const read = readYaml(text.slice(offset, end))
  return 'problem' in read ? { ...read, offset: offset + read.offset } : { ...read, end }
}
