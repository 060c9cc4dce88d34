/**
 * One pod that would come of the text: verdict, report, certificate, changes, patch.
 */
import type { DryRunResult } from '../../preview/schemas.ts'
import { type Announce, copyButton } from './copy.ts'
import { diffTable, type Layout } from './diff-table.ts'
import { element } from './elements.ts'
import { counted, countsText } from './summary.ts'
import { type ViolationRow, violationRows } from './violations.ts'

export interface PodView {
  root: HTMLDetailsElement
  lay(layout: Layout): void
}

export function podView(result: DryRunResult, layout: Layout, announce: Announce): PodView {
  const root = element('details', { class: 'pod' }, summaryOf(result))
  const changes = element('div', { class: 'changes' })
  let current = layout
  let isDrawn = false
  const draw = () => {
    const { diff = '' } = result
    if (diff !== '') {
      changes.replaceChildren(diffTable(diff, current, `Changes to ${result.source}`))
    }
  }
  // Hundreds of pods may come of one text; each is drawn when it is looked at.
  root.addEventListener('toggle', () => {
    if (isDrawn || !root.open) return
    isDrawn = true
    draw()
    root.append(
      ...[
        ...messages(result),
        podSecuritySection(result),
        certificateSection(result),
        changesSection(result, changes, announce)
      ].filter(part => part !== undefined)
    )
  })
  return {
    root,
    lay(wanted) {
      current = wanted
      if (isDrawn) draw()
    }
  }
}

function summaryOf({ source, node, kind, allowed, patch, podSecurity }: DryRunResult): HTMLElement {
  const verdict = allowed ? (patch.length === 0 ? 'unchanged' : 'admitted') : 'refused'
  return element(
    'summary',
    {},
    element('h3', {}, source),
    element('span', { class: 'tag' }, node === 'none' ? `${kind}, not of Ray` : node),
    element('span', { class: `tag ${verdict}` }, verdict),
    podSecurity && element('span', { class: 'count' }, countsText(podSecurity))
  )
}

function messages({ message, warnings, allowed }: DryRunResult): HTMLElement[] {
  const parts: HTMLElement[] = []
  if (message !== undefined) {
    const title = allowed ? 'The webhook says' : 'This pod would be refused'
    parts.push(note('refusal', title, [message]))
  }
  if (warnings.length > 0) {
    parts.push(note('warning', warnings.length === 1 ? 'Warning' : 'Warnings', warnings))
  }
  return parts
}

function note(kind: string, title: string, texts: readonly string[]): HTMLElement {
  const paragraphs = texts.map(text => element('p', {}, text))
  return element('section', { class: `note ${kind}` }, element('h4', {}, title), ...paragraphs)
}

function podSecuritySection({ podSecurity }: DryRunResult): HTMLElement | undefined {
  if (podSecurity === undefined) return undefined
  const rows = violationRows(podSecurity)
  const title = element('h4', {}, `Pod Security ${podSecurity.level}`)
  if (rows.length === 0) {
    return element('section', {}, title, element('p', {}, 'Nothing violates it.'))
  }
  const columns = ['Check', 'Before', 'After'].map(name => element('th', { scope: 'col' }, name))
  const table = element(
    'table',
    { class: 'violations', 'aria-label': title.textContent ?? '' },
    element('thead', {}, element('tr', {}, ...columns)),
    element('tbody', {}, ...rows.map(violationRow))
  )
  return element('section', {}, title, table)
}

function violationRow({ id, reason, detail, before, after }: ViolationRow): HTMLElement {
  const check = element(
    'th',
    { scope: 'row', title: id },
    element('span', { class: 'reason' }, reason),
    element('span', { class: 'detail' }, detail)
  )
  const now = after === undefined ? stateCell('none', 'no pod') : state(after, 'mended')
  return element('tr', {}, check, state(before, 'complies'), now)
}

function state(violates: boolean, otherwise: string): HTMLElement {
  return violates ? stateCell('bad', 'violates') : stateCell('good', otherwise)
}

function stateCell(kind: 'good' | 'bad' | 'none', word: string): HTMLElement {
  const text = element('span', { class: 'word' }, word)
  return element('td', {}, element('span', { class: `state ${kind}` }, text))
}

function certificateSection({ certificate }: DryRunResult): HTMLElement | undefined {
  if (certificate === undefined) return undefined
  const { dnsNames, ipAddresses, usages } = certificate
  const list = element('dl', {})
  const entries: [string, readonly string[]][] = [
    ['DNS names', dnsNames],
    ['IP addresses', ipAddresses],
    ['Usages', usages]
  ]
  for (const [name, values] of entries) {
    list.append(element('dt', {}, name), element('dd', {}, ...values.map(chip)))
  }
  return element('section', {}, element('h4', {}, 'Names in its certificate'), list)
}

function chip(text: string): HTMLElement {
  return element('code', { class: 'chip' }, text)
}

function changesSection(
  { patch, allowed, source }: DryRunResult,
  changes: HTMLElement,
  announce: Announce
): HTMLElement | undefined {
  if (!allowed) return undefined
  const title = element('h4', {}, 'Changes')
  if (patch.length === 0) {
    return element('section', {}, title, element('p', {}, 'Nothing is changed.'))
  }
  const text = JSON.stringify(patch, null, 2)
  const copy = copyButton('Copy patch', `Copy patch of ${source}`, () => text, announce)
  const raw = element(
    'details',
    { class: 'patch' },
    element('summary', {}, `JSON patch (RFC 6902), ${counted(patch.length, 'operation')}`)
  )
  raw.addEventListener(
    'toggle',
    () => raw.append(element('pre', { tabindex: '0', 'aria-label': 'JSON patch' }, text)),
    { once: true }
  )
  return element('section', {}, element('div', { class: 'titled' }, title, copy), changes, raw)
}
