/**
 * A unified diff as the rows that are shown: below each other, or side by side.
 */
import { parsePatch } from 'diff'

export interface Line {
  /** From one. */
  number: number
  text: string
  /** What differs from the line on the other side: from here, up to there. Absent where the whole line is new or gone. */
  changed?: readonly [number, number]
}

/** `before` alone is removed, `after` alone is added, both are the same; neither is a gap between two places. */
export interface Row {
  kind: 'same' | 'removed' | 'added' | 'gap'
  before?: Line
  after?: Line
}

export function rowsOf(diff: string): Row[] {
  const rows: Row[] = []
  for (const { oldStart, newStart, lines } of parsePatch(diff).flatMap(({ hunks }) => hunks)) {
    if (oldStart > 1) rows.push({ kind: 'gap' })
    let [before, after] = [oldStart, newStart]
    for (const line of lines) {
      const text = line.slice(1)
      switch (line[0]) {
        case '-':
          rows.push({ kind: 'removed', before: { number: before++, text } })
          break
        case '+':
          rows.push({ kind: 'added', after: { number: after++, text } })
          break
        case ' ':
          rows.push({
            kind: 'same',
            before: { number: before++, text },
            after: { number: after++, text }
          })
          break
        default:
        // "\ No newline at end of file" belongs to no line.
      }
    }
  }
  return withChanges(rows)
}

/** Removed lines beside the added ones that follow them. */
export function sideBySide(rows: readonly Row[]): Row[] {
  const paired: Row[] = []
  for (const run of runsOf(rows)) {
    if (!Array.isArray(run)) {
      paired.push(run)
      continue
    }
    const [removed, added] = split(run)
    for (let index = 0; index < Math.max(removed.length, added.length); index += 1) {
      const [before, after] = [removed[index]?.before, added[index]?.after]
      paired.push({
        kind: before === undefined ? 'added' : 'removed',
        ...(before === undefined ? {} : { before }),
        ...(after === undefined ? {} : { after })
      })
    }
  }
  return paired
}

/** Marks what differs in lines that stand for each other: as many removed as added ones in one run. */
function withChanges(rows: readonly Row[]): Row[] {
  return runsOf(rows).flatMap(run => {
    if (!Array.isArray(run)) return [run]
    const [removed, added] = split(run)
    if (removed.length !== added.length) return run
    for (const [index, { before }] of removed.entries()) {
      const after = added[index]?.after
      if (before === undefined || after === undefined) continue
      const [start, endBefore, endAfter] = difference(before.text, after.text)
      // Two lines that have nothing in common are better read whole.
      if (start === 0 && endBefore === before.text.length) continue
      before.changed = [start, endBefore]
      after.changed = [start, endAfter]
    }
    return run
  })
}

function runsOf(rows: readonly Row[]): (Row | Row[])[] {
  const runs: (Row | Row[])[] = []
  for (const row of rows) {
    const last = runs.at(-1)
    if (row.kind === 'same' || row.kind === 'gap') runs.push(row)
    else if (Array.isArray(last)) last.push(row)
    else runs.push([row])
  }
  return runs
}

function split(run: readonly Row[]): [Row[], Row[]] {
  return [run.filter(({ kind }) => kind === 'removed'), run.filter(({ kind }) => kind === 'added')]
}

/** Where they begin to differ, and where that ends in each. */
function difference(before: string, after: string): [number, number, number] {
  const shorter = Math.min(before.length, after.length)
  let start = 0
  while (start < shorter && before[start] === after[start]) start += 1
  let same = 0
  while (
    same < shorter - start &&
    before[before.length - 1 - same] === after[after.length - 1 - same]
  ) {
    same += 1
  }
  return [start, before.length - same, after.length - same]
}
