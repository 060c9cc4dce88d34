/**
 * The field for the text: line numbers beside it, and the line that an error is about.
 *
 * A plain textarea, so that everything that people know works: undo, find, screen readers, a Tab that leaves.
 */
import type { Problem } from './answer.ts'
import { element } from './elements.ts'

export interface Editor {
  text(): string
  /** Can be undone, unless it is large. */
  replace(text: string): void
  /** Undefined: nothing is wrong. */
  mark(problem: Problem | undefined): void
  /** Puts the caret there. */
  goTo(line: number, column: number): void
}

/** As in page.css. */
const lineHeight = 20
const tabSize = 2

export function createEditor(textarea: HTMLTextAreaElement, frame: HTMLElement): Editor {
  const numbers = element('div', { class: 'numbers' })
  const gutter = element('div', { class: 'gutter', 'aria-hidden': 'true' }, numbers)
  const underline = element('div', { class: 'underline' })
  const band = element('div', { class: 'band', hidden: true, 'aria-hidden': 'true' }, underline)
  frame.prepend(gutter, band)
  let lines = 1
  let marked: { line: number; column: number } | undefined

  const draw = () => {
    const { scrollTop, scrollLeft, clientHeight } = textarea
    const first = Math.floor(scrollTop / lineHeight)
    // Only those that can be seen: a text of 1 MiB may have a million lines.
    const last = Math.min(lines, first + Math.ceil(clientHeight / lineHeight) + 1)
    const shown: HTMLElement[] = []
    for (let line = first + 1; line <= last; line += 1) {
      shown.push(element('span', line === marked?.line ? { class: 'wrong' } : {}, String(line)))
    }
    numbers.replaceChildren(...shown)
    numbers.style.transform = `translateY(${first * lineHeight - scrollTop}px)`
    band.hidden = marked === undefined
    if (marked === undefined) return
    band.style.transform = `translateY(${(marked.line - 1) * lineHeight - scrollTop}px)`
    underline.style.transform = `translateX(calc(${marked.column}ch - ${scrollLeft}px))`
  }
  const count = () => {
    lines = 1
    const { value } = textarea
    for (let at = value.indexOf('\n'); at !== -1; at = value.indexOf('\n', at + 1)) lines += 1
    draw()
  }
  textarea.addEventListener('input', count)
  textarea.addEventListener('scroll', draw, { passive: true })
  new ResizeObserver(draw).observe(textarea)
  // A browser may have kept the text over a reload.
  count()

  return {
    text: () => textarea.value,
    replace(text) {
      setText(textarea, text)
      textarea.setSelectionRange(0, 0)
      textarea.scrollTo(0, 0)
      count()
    },
    mark(problem) {
      const { line, column } = problem ?? {}
      marked =
        line === undefined || column === undefined
          ? undefined
          : { line, column: visibleColumn(lineOf(textarea.value, line), column) }
      if (marked !== undefined) scrollTo(textarea, marked.line)
      draw()
    },
    goTo(line, column) {
      const offset = offsetOf(textarea.value, line) + column - 1
      textarea.focus()
      textarea.setSelectionRange(offset, offset)
      scrollTo(textarea, line)
    }
  }
}

/** The only way that leaves undo whole is an old one; with large texts it takes seconds. */
function setText(textarea: HTMLTextAreaElement, text: string): void {
  if (textarea.value === text) return
  if (textarea.value.length + text.length < 20_000) {
    const { activeElement } = document
    textarea.focus({ preventScroll: true })
    textarea.select()
    const isSet = document.execCommand('insertText', false, text)
    if (activeElement instanceof HTMLElement) activeElement.focus({ preventScroll: true })
    if (isSet) return
  }
  textarea.value = text
}

function scrollTo(textarea: HTMLTextAreaElement, line: number): void {
  const top = (line - 1) * lineHeight
  const { scrollTop, clientHeight } = textarea
  const seen = top >= scrollTop && top + 2 * lineHeight <= scrollTop + clientHeight
  if (!seen) textarea.scrollTop = Math.max(0, top - clientHeight / 3)
}

function offsetOf(text: string, line: number): number {
  let offset = 0
  for (let current = 1; current < line; current += 1) {
    const end = text.indexOf('\n', offset)
    if (end === -1) break
    offset = end + 1
  }
  return offset
}

function lineOf(text: string, line: number): string {
  const start = offsetOf(text, line)
  const end = text.indexOf('\n', start)
  return text.slice(start, end === -1 ? undefined : end)
}

/** From zero, with tabs as wide as they are shown. */
function visibleColumn(line: string, column: number): number {
  let shown = 0
  for (const character of line.slice(0, column - 1)) {
    shown += character === '\t' ? tabSize - (shown % tabSize) : 1
  }
  return shown
}
