/** Where in a text something stands, as people count: from one. */

export interface Place {
  line: number
  column: number
}

export function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset)
  const lineStart = before.lastIndexOf('\n') + 1
  return { line: before.split('\n').length, column: offset - lineStart + 1 }
}
