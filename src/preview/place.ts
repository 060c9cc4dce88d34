/** Where in a text something stands, as people count: from one. */

export interface Place {
  line: number
  column: number
}

/** Asked from the front to the back it reads the text once, however often it is asked. */
export function createPlaces(text: string): (offset: number) => Place {
  let line = 1
  let lineStart = 0
  let lineEnd = endOfLine()
  return offset => {
    if (offset < lineStart) {
      line = 1
      lineStart = 0
      lineEnd = endOfLine()
    }
    while (lineEnd < offset) {
      line += 1
      lineStart = lineEnd + 1
      lineEnd = endOfLine()
    }
    return { line, column: offset - lineStart + 1 }
  }

  /** Kept from one question to the next: a line may be the whole text, with a document for each two characters of it. */
  function endOfLine(): number {
    const found = text.indexOf('\n', lineStart)
    return found === -1 ? Infinity : found
  }
}
