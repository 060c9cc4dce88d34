import type { Figure } from './harness.ts'

/** One line of JSON. */
export function jsonLine(figure: Figure): string {
  const { name, value, unit, baseline, ratio, spread, target, met } = figure
  return JSON.stringify({
    name,
    value: rounded(value),
    unit,
    baseline: rounded(baseline),
    ratio: rounded(ratio),
    spread: rounded(spread),
    target,
    met
  })
}

const columns: readonly { title: string; width: number; text(figure: Figure): string }[] = [
  { title: 'figure', width: -44, text: ({ name }) => name },
  { title: 'value', width: 10, text: ({ value }) => shown(value) },
  { title: 'unit', width: -12, text: ({ unit }) => unit },
  { title: 'baseline', width: 10, text: ({ baseline }) => shown(baseline) },
  { title: 'ratio', width: 8, text: ({ ratio }) => (ratio === null ? '' : `${shown(ratio)}×`) },
  {
    title: 'spread',
    width: 8,
    text: ({ spread }) => (spread === null ? '' : `±${Math.round(spread * 50)} %`)
  },
  {
    title: 'target',
    width: -16,
    text: ({ target, met }) => (target === '' ? '' : `${target} ${met ? 'yes' : 'MISSED'}`)
  }
]

export function tableHead(): string {
  return `${row(columns.map(({ title }) => title))}\n${row(columns.map(({ width }) => '-'.repeat(Math.abs(width))))}`
}

export function tableRow(figure: Figure): string {
  return row(columns.map(({ text }) => text(figure)))
}

function row(cells: string[]): string {
  return columns
    .map(({ width }, at) => {
      const cell = cells[at] ?? ''
      return width < 0 ? cell.padEnd(-width) : cell.padStart(width)
    })
    .join('  ')
    .trimEnd()
}

function shown(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return ''
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3)
}

/** Four significant digits: more would pretend. */
function rounded(value: number | null): number | null {
  return value === null || !Number.isFinite(value) ? null : Number(value.toPrecision(4))
}
