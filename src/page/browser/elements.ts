/**
 * Elements by name, attributes and children. Texts become text nodes, whatever is in them, and so that all of it is seen.
 */

type Attributes = Record<string, string | boolean | undefined>
type Child = Node | string | undefined

export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      made.setAttribute(attribute, value === true ? '' : value)
    }
  }
  for (const child of children) {
    if (child !== undefined) made.append(...(typeof child === 'string' ? visible(child) : [child]))
  }
  return made
}

/**
 * Attack: characters that are not seen, or that turn the order of others around, so that people approve of what is not
 * there (CVE-2021-42574). They are shown as their number.
 */
function visible(text: string): (string | Node)[] {
  if (!unseen.test(text)) return [text]
  return text.split(unseen).map(piece => {
    if (!unseen.test(piece)) return piece
    const mark = document.createElement('span')
    mark.className = 'unseen-character'
    mark.textContent = `U+${piece.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}`
    return mark
  })
}

const unseen = /((?![\t\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}])/u

/** One that page.html has. */
export function existing<Type extends HTMLElement>(id: string, type: new () => Type): Type {
  const found = document.getElementById(id)
  if (found instanceof type) return found
  throw new Error(`page.html has no ${type.name} with the id ${id}`)
}
