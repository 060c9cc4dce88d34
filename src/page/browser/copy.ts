/**
 * A button that puts a text into the clipboard and says so.
 */
import { element } from './elements.ts'

export type Announce = (text: string) => void

/** `what`: begins with the label, and is for those who do not see what the button stands beside. */
export function copyButton(
  label: string,
  what: string,
  text: () => string,
  announce: Announce
): HTMLButtonElement {
  const button = element('button', { type: 'button', class: 'small' }, label)
  if (what !== label) button.setAttribute('aria-label', what)
  let reset: number | undefined
  button.addEventListener('click', async () => {
    const copied = await copy(text())
    announce(copied ? 'Copied.' : 'The browser does not let this page copy. Select the text.')
    button.textContent = copied ? 'Copied' : 'Not allowed'
    clearTimeout(reset)
    reset = window.setTimeout(() => {
      button.textContent = label
    }, 2000)
  })
  return button
}

/** A browser may forbid it, and has no clipboard at all for a page that a proxy gives out over plain HTTP. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
}
