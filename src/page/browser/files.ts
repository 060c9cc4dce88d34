/**
 * Texts that come as files, dropped anywhere on the page or chosen; and which texts can be asked about.
 */

export interface Taken {
  text: string
  /** Of the only file. */
  file?: string
}

/** The server takes no more, and closes the connection before a browser has read why. */
export const maximumBytes = 1024 * 1024

/** A text that is dragged is left to the browser: it goes where it is dropped. */
export function acceptDrops(onFiles: (files: File[]) => void): void {
  const { documentElement } = document
  let inside = 0
  const show = (depth: number) => {
    inside = Math.max(0, depth)
    documentElement.toggleAttribute('data-dropping', inside > 0)
  }
  // One for each element on the way in and out.
  addEventListener('dragenter', event => {
    if (holdsFiles(event)) show(inside + 1)
  })
  addEventListener('dragleave', event => {
    if (holdsFiles(event)) show(inside - 1)
  })
  addEventListener('dragover', event => {
    if (holdsFiles(event)) event.preventDefault()
  })
  addEventListener('drop', event => {
    show(0)
    if (!holdsFiles(event)) return
    // The browser would leave the page for the file.
    event.preventDefault()
    onFiles([...(event.dataTransfer?.files ?? [])])
  })
}

function holdsFiles({ dataTransfer }: DragEvent): boolean {
  return dataTransfer?.types.includes('Files') ?? false
}

/** Several are read as the documents of one text, in the order of their names. */
export async function readFiles(files: readonly File[]): Promise<Taken | { problem: string }> {
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  if (bytes > maximumBytes) return { problem: tooLarge(bytes) }
  const sorted = [...files].sort((one, other) => (one.name < other.name ? -1 : 1))
  const texts: string[] = []
  for (const file of sorted) {
    try {
      texts.push(new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer()))
    } catch {
      return { problem: `${file.name} cannot be read, or is not a text in UTF-8.` }
    }
  }
  const [only] = files
  return {
    text: texts.join('\n---\n'),
    ...(only === undefined || files.length > 1 ? {} : { file: only.name })
  }
}

/** Why there is no sense in asking about it. */
export function problemOf(text: string): string | undefined {
  if (text.trim() === '')
    return 'There is no text yet. Paste one, open a file, or take the example.'
  const { size } = new Blob([text])
  return size > maximumBytes ? tooLarge(size) : undefined
}

function tooLarge(bytes: number): string {
  // Rounded up, so that it is never "has 1.00 MiB".
  const found = (Math.ceil((bytes / maximumBytes) * 100) / 100).toFixed(2)
  return `At most 1 MiB can be tried at once, and this has ${found} MiB. Try it in parts.`
}
