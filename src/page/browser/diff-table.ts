/**
 * A diff as a table: below each other or side by side.
 */
import { type Line, type Row, rowsOf, sideBySide } from './diff-rows.ts'
import { element } from './elements.ts'
import { partsOf } from './yaml-parts.ts'

export type Layout = 'unified' | 'side-by-side'

/** More are shown when asked for, so that a huge pod does not hold the browser. */
const rowsAtOnce = 1000
/** The rest of a longer line is data, and takes the browser seconds. */
const maximumText = 5000

export function diffTable(diff: string, layout: Layout, caption: string): HTMLElement {
  const unified = rowsOf(diff)
  const rows = layout === 'unified' ? unified : sideBySide(unified)
  const body = element('tbody')
  const table = element(
    'table',
    { class: `diff ${layout}` },
    element('caption', { class: 'unseen' }, caption),
    columns(layout),
    head(layout),
    body
  )
  const render = layout === 'unified' ? unifiedRow : sideBySideRow
  body.append(...rows.slice(0, rowsAtOnce).map(render))
  if (rows.length <= rowsAtOnce) return table
  const more = element('button', { type: 'button' }, `Show all ${rows.length} lines`)
  more.addEventListener('click', () => {
    body.append(...rows.slice(rowsAtOnce).map(render))
    more.remove()
  })
  return element('div', {}, table, more)
}

/** Their widths: the first row may be one that spans them all. */
function columns(layout: Layout): HTMLElement {
  const classes =
    layout === 'unified' ? ['number', 'number', 'sign', ''] : ['number', '', 'number', '']
  return element('colgroup', {}, ...classes.map(name => element('col', { class: name })))
}

function head(layout: Layout): HTMLElement {
  const names =
    layout === 'unified'
      ? ['Line before', 'Line after', 'Change', 'Text']
      : ['Line before', 'Before', 'Line after', 'After']
  const cells = names.map(text => element('th', { scope: 'col' }, text))
  return element('thead', { class: 'unseen' }, element('tr', {}, ...cells))
}

function unifiedRow(row: Row): HTMLElement {
  if (row.kind === 'gap') return gap()
  const line = row.after ?? row.before
  return element(
    'tr',
    { class: row.kind },
    numberCell(row.before),
    numberCell(row.after),
    element('td', { class: 'sign' }, signs[row.kind]),
    textCell(line, row.kind)
  )
}

const signs = { same: '', added: '+', removed: '−' } as const

function sideBySideRow({ kind, before, after }: Row): HTMLElement {
  if (kind === 'gap') return gap()
  const same = kind === 'same'
  return element(
    'tr',
    {},
    numberCell(before, same || before === undefined ? '' : 'removed'),
    textCell(before, same || before === undefined ? 'same' : 'removed'),
    numberCell(after, same || after === undefined ? '' : 'added'),
    textCell(after, same || after === undefined ? 'same' : 'added')
  )
}

function gap(): HTMLElement {
  return element('tr', { class: 'gap' }, element('td', { colspan: '4' }, '⋯'))
}

function numberCell(line: Line | undefined, kind = ''): HTMLElement {
  return element('td', { class: `number ${kind}` }, line === undefined ? '' : String(line.number))
}

function textCell(line: Line | undefined, kind: 'same' | 'added' | 'removed'): HTMLElement {
  if (line === undefined) return element('td', { class: 'text nothing' })
  const cell = element('td', { class: `text ${kind}` }, changed(line, kind))
  // A line that is wrapped goes on below its own beginning.
  const indent = /^[ -]*/.exec(line.text)?.[0].length ?? 0
  cell.style.setProperty('--indent', String(Math.min(indent, 20)))
  return cell
}

function changed(line: Line, kind: 'same' | 'added' | 'removed'): Node {
  const pieces = piecesOf(line)
  if (kind === 'same') return element('span', {}, ...pieces)
  return element(kind === 'added' ? 'ins' : 'del', {}, ...pieces)
}

/** Coloured as YAML, with what differs marked. */
function piecesOf({ text, changed }: Line): Node[] {
  const shown = text.slice(0, maximumText)
  const [from, to] = changed ?? [0, 0]
  const pieces: Node[] = []
  let offset = 0
  for (const part of partsOf(shown)) {
    const cuts = [offset, from, to, offset + part.text.length]
    for (let index = 0; index < 3; index += 1) {
      const start = Math.max(offset, cuts[index] ?? 0)
      const end = Math.min(offset + part.text.length, cuts[index + 1] ?? 0)
      if (start >= end) continue
      const isChanged = start >= from && end <= to
      const classes = `${part.kind}${isChanged ? ' changed' : ''}`
      pieces.push(element('span', { class: classes }, shown.slice(start, end)))
    }
    offset += part.text.length
  }
  const hidden = text.length - shown.length
  if (hidden > 0) pieces.push(element('em', {}, ` … ${hidden} more characters`))
  return pieces
}
