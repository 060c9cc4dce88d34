/**
 * What the demonstration says: headings, steps that came out as told or not, diffs. Colours only where a terminal reads.
 */
export interface Narrator {
  heading(text: string): void
  note(text: string): void
  diff(text: string): void
  /** States a fact; a false one makes the whole demonstration fail. */
  expect(holds: boolean, text: string, detail?: string): void
  readonly failures: number
}

const codes = { bold: 1, dim: 2, red: 31, green: 32, cyan: 36 } as const

export function createNarrator(write: (text: string) => void, coloured: boolean): Narrator {
  let failures = 0
  const paint = (colour: keyof typeof codes, text: string) =>
    coloured ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text

  return {
    get failures() {
      return failures
    },
    heading: text => write(`\n${paint('bold', text)}\n`),
    note: text => write(`  ${text}\n`),
    diff: text => {
      for (const line of text.trimEnd().split('\n')) write(`  ${paintedLine(line, paint)}\n`)
    },
    expect(holds, text, detail) {
      if (!holds) failures++
      const mark = holds ? paint('green', '✓') : paint('red', '✗')
      write(`  ${mark} ${text}${detail === undefined ? '' : paint('dim', `  ${detail}`)}\n`)
    }
  }
}

function paintedLine(
  line: string,
  paint: (colour: 'bold' | 'green' | 'red' | 'cyan', text: string) => string
): string {
  if (line.startsWith('+++') || line.startsWith('---')) return paint('bold', line)
  if (line.startsWith('@@')) return paint('cyan', line)
  if (line.startsWith('+')) return paint('green', line)
  if (line.startsWith('-')) return paint('red', line)
  return line
}
