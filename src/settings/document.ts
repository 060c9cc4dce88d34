/** A settings file's text as a value, and where in the text each part of it stands. */
import { isCollection, LineCounter, parseDocument, visit } from 'yaml'
import type { Path } from './node.ts'

export interface Place {
  line: number
  column: number
}

export interface DocumentProblem {
  message: string
  place?: Place
}

export interface SettingsDocument {
  /** An empty object for an empty file. */
  value: unknown
  problems: DocumentProblem[]
  /** The place of the value, or of the nearest thing around it that the file does have. */
  placeOf(path: Path): Place | undefined
}

const maximumCharacters = 256 * 1024

/** YAML 1.2 (so JSON too), of which only what a settings file needs: one document, no anchors, aliases or tags. */
export function readDocument(text: string): SettingsDocument {
  if (text.length > maximumCharacters) {
    return {
      value: undefined,
      problems: [
        { message: `expected at most ${maximumCharacters} characters, found ${text.length}` }
      ],
      placeOf: () => undefined
    }
  }
  const lines = new LineCounter()
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    strict: true,
    uniqueKeys: true,
    lineCounter: lines,
    prettyErrors: false
  })
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  const problems: DocumentProblem[] = [...document.errors, ...document.warnings].map(error => ({
    message: readable(error.code, error.message),
    place: place(error.pos[0])
  }))
  // Aliases make a small file a huge value, and a setting that is written somewhere else is hard to find.
  visit(document, {
    Alias: (_, node) => {
      problems.push({
        message: `aliases are not read here: write the value out instead of *${node.source}`,
        ...(node.range ? { place: place(node.range[0]) } : {})
      })
    }
  })
  return {
    value: problems.length === 0 ? (document.toJS({ maxAliasCount: 0 }) ?? {}) : undefined,
    problems,
    placeOf(path) {
      for (let length = path.length; length >= 0; length--) {
        const node =
          length === 0
            ? document.contents
            : isCollection(document.contents)
              ? document.contents.getIn(path.slice(0, length), true)
              : undefined
        const range = (node as { range?: [number, number, number] } | undefined | null)?.range
        if (range) return place(range[0])
      }
      return undefined
    }
  }
}

/** The parser's words, where better ones help. */
function readable(code: string, message: string): string {
  switch (code) {
    case 'DUPLICATE_KEY':
      return 'this key stands in its section twice; keep one of them'
    case 'TAB_AS_INDENT':
      return 'YAML is indented by spaces, and here stands a tab'
    case 'MULTIPLE_DOCS':
      return 'expected one document, found a second one behind ---'
    case 'TAG_RESOLVE_FAILED':
      return 'tags (!…) are not read here'
    default:
      return `is not well-formed YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}`
  }
}
