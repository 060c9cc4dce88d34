/**
 * A text with any number of JSON or YAML documents as values, each with its number; or the first thing that is wrong.
 *
 * Documents follow a line `---`; JSON values may also follow each other, one a line or not. YAML is read strictly: no key
 * twice, no unknown tags, few aliases.
 */
import { LineCounter, parseDocument, type ScalarTag } from 'yaml'
import { scanJson } from './json-scan.ts'
import { createPlaces, type Place } from './place.ts'

export interface Document {
  /** From one. */
  number: number
  place: Place
  value: unknown
}

export interface DocumentProblem extends Place {
  document: number
  message: string
}

const maximumAliases = 100

export function readDocuments(
  text: string
): { documents: Document[] } | { problem: DocumentProblem } {
  const documents: Document[] = []
  const placeOf = createPlaces(text)
  let offset = 0
  for (;;) {
    offset = nextDocument(text, offset)
    if (offset >= text.length) return { documents }
    const number = documents.length + 1
    const end = text[offset] === '{' ? undefined : endOfYaml(text, offset)
    const read = end === undefined ? readJson(text, offset) : readYaml(text, offset, end)
    if ('problem' in read) {
      const place = placeOf(read.offset)
      return { problem: { document: number, ...place, message: read.problem } }
    }
    // A document of comments alone is none.
    if (read.value !== null) {
      documents.push({ number, place: placeOf(offset), value: read.value })
    }
    offset = read.end
  }
}

type Read = { value: unknown; end: number } | { problem: string; offset: number }

/** Past white space, comments, empty documents and a byte order mark. */
function nextDocument(text: string, offset: number): number {
  const gap = /(?:[\s\uFEFF]|#[^\n]*|(?<=^|\n)---(?=\s|$))*/y
  gap.lastIndex = offset
  gap.test(text)
  return gap.lastIndex
}

function readJson(text: string, offset: number): Read {
  const scan = scanJson(text, offset)
  if ('problem' in scan) return { problem: `not JSON: ${scan.problem}`, offset: scan.offset }
  const after = /[ \t\r]*/y
  after.lastIndex = scan.end
  after.test(text)
  const next = text[after.lastIndex]
  if (next !== undefined && next !== '\n' && next !== '{') {
    const problem = 'expected the end of the document after the last brace'
    return { problem, offset: after.lastIndex }
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

/** `defaultMode: 0444` is octal to kubectl, and YAML 1.2 would read it as decimal. */
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^0[0-7]+$/,
  resolve: text => Number.parseInt(text, 8)
}

function readYaml(text: string, offset: number, end: number): Read {
  try {
    const document = parseDocument(text.slice(offset, end), {
      version: '1.2',
      schema: 'core',
      customTags: tags => [octal, ...tags],
      merge: true,
      strict: true,
      uniqueKeys: true,
      lineCounter: new LineCounter(),
      prettyErrors: false
    })
    const [error] = [...document.errors, ...document.warnings]
    if (error) return { problem: `not YAML: ${error.message}`, offset: offset + error.pos[0] }
    return { value: document.toJS({ maxAliasCount: maximumAliases }), end }
  } catch (error) {
    // The reader recurses, and counts aliases only while it makes values of them.
    const { message } = error as Error
    return {
      problem: error instanceof RangeError ? 'nested too deeply' : `not YAML: ${message}`,
      offset
    }
  }
}
