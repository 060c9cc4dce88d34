/**
 * All pods that would come of the text.
 */
import type { DryRunAnswer } from '../../preview/schemas.ts'
import type { Announce } from './copy.ts'
import type { Layout } from './diff-table.ts'
import { element } from './elements.ts'
import { type PodView, podView } from './pod-view.ts'

export interface Places {
  pods: HTMLElement
  passedOver: HTMLElement
}

export interface Results {
  show(answer: DryRunAnswer): void
  clear(): void
  lay(layout: Layout): void
}

/** So many are open at first; the others are headings, opened by who wants to see them. */
const openAtFirst = 1

export function createResults(
  { pods, passedOver }: Places,
  layout: Layout,
  announce: Announce
): Results {
  let current = layout
  let views: PodView[] = []
  return {
    show({ results, passedOver: others = [] }) {
      views = results.map(result => podView(result, current, announce))
      // What is refused is what people have to look at.
      const refused = results.findIndex(({ allowed }) => !allowed)
      const first = Math.max(0, refused)
      for (const { root } of views.slice(first, first + openAtFirst)) root.open = true
      pods.replaceChildren(...views.map(({ root }) => element('li', {}, root)))
      passedOver.replaceChildren(...passedOverParts(others))
      passedOver.hidden = others.length === 0
    },
    clear() {
      views = []
      pods.replaceChildren()
      passedOver.hidden = true
    },
    lay(wanted) {
      current = wanted
      for (const view of views) view.lay(wanted)
    }
  }
}

function passedOverParts(others: NonNullable<DryRunAnswer['passedOver']>): HTMLElement[] {
  const items = others.map(({ line, message }) => element('li', {}, `Line ${line}: ${message}`))
  return [element('h3', {}, 'Passed over'), element('ul', {}, ...items)]
}
