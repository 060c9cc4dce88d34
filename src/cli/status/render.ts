import { type Check, sections } from './check.ts'

const marks = { ok: '✓', warning: '!', failed: '✗' }

/** The checks as text, section by section, and a last line that says how it stands. */
export function render(checks: readonly Check[]): string {
  const lines: string[] = []
  for (const section of sections) {
    const mine = checks.filter(check => check.section === section)
    if (mine.length === 0) continue
    lines.push(section)
    for (const { state, text, advice } of mine) {
      lines.push(`  ${marks[state]} ${plain(text)}`)
      if (advice !== undefined) lines.push(`    → ${plain(advice)}`)
    }
    lines.push('')
  }
  return `${lines.join('\n')}\n${conclusion(checks)}\n`
}

function conclusion(checks: readonly Check[]): string {
  const failed = checks.filter(({ state }) => state === 'failed').length
  const warnings = checks.filter(({ state }) => state === 'warning').length
  if (failed > 0) return `${failed} of ${checks.length} checks failed.`
  return warnings > 0 ? `Nothing failed; ${warnings} to look at.` : 'All is well.'
}

/** Attack: whoever may write a pod's status may put control characters for a terminal there. */
function plain(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}
