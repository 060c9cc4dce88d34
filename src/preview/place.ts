/** Where in a text something stands, as people count: from one. */

export interface Place {
  line: number
  column: number
}

/** Asked from the front to the back it reads the text once, however often it is asked. */
export function createPlaces(text: string): (offset: number) => Place {
  let line = 1
  let lineStart = 0
  return offset => {
    if (offset < lineStart) {
      line = 1
      lineStart = 0
    }
    for (;;) {
      const end = text.indexOf('\n', lineStart)
      if (end === -1 || end >= offset) return { line, column: offset - lineStart + 1 }
      line += 1
      lineStart = end + 1
    }
  }
}
