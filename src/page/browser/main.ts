/**
 * The page: what people do becomes a question to the server, and its answer what they see.
 */
import type { DryRunAnswer } from '../../preview/schemas.ts'
import { askFor, type Modes, type Problem } from './answer.ts'
import { curlLine, programLine } from './commands.ts'
import { copyButton } from './copy.ts'
import type { Layout } from './diff-table.ts'
import { createEditor } from './editor.ts'
import { element, existing } from './elements.ts'
import { example } from './example.ts'
import { acceptDrops, problemOf, readFiles } from './files.ts'
import { createResults } from './results.ts'
import { summaryOf } from './summary.ts'

const form = existing('form', HTMLFormElement)
const textarea = existing('text', HTMLTextAreaElement)
const problemBox = existing('problem', HTMLElement)
const status = existing('status', HTMLElement)
const announcer = existing('announcer', HTMLElement)
const welcome = existing('welcome', HTMLElement)
const stale = existing('stale', HTMLElement)
const panel = existing('results', HTMLElement)
const layouts = existing('layouts', HTMLElement)
const chooser = existing('file', HTMLInputElement)

const editor = createEditor(textarea, existing('field', HTMLElement))
const results = createResults(
  { pods: existing('pods', HTMLElement), passedOver: existing('passed-over', HTMLElement) },
  'unified',
  announce
)

let file: string | undefined
let running: AbortController | undefined

form.addEventListener('submit', event => {
  event.preventDefault()
  void run()
})
form.addEventListener('change', event => {
  if (event.target === chooser || event.target === textarea) return
  showCommands()
  // Who has seen an answer wants to see what the other mode makes of it.
  if (welcome.hidden) void run()
})
textarea.addEventListener('input', event => {
  showProblem(undefined)
  stale.hidden = !welcome.hidden
  // What stands there is no longer what the file has.
  file = undefined
  showCommands()
  const { inputType } = event as InputEvent
  if (inputType === 'insertFromPaste' || inputType === 'insertFromDrop') void run()
})
textarea.addEventListener('keydown', event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault()
    void run()
  }
})
for (const id of ['example', 'example-too']) {
  existing(id, HTMLButtonElement).addEventListener('click', () => take(example))
}
existing('open', HTMLButtonElement).addEventListener('click', () => chooser.click())
chooser.addEventListener('change', () => {
  void takeFiles([...(chooser.files ?? [])])
  // The same file again is a choice too.
  chooser.value = ''
})
acceptDrops(files => void takeFiles(files))
layouts.addEventListener('change', () => results.lay(chosen('layout') as Layout))
for (const id of ['curl', 'program']) {
  const line = existing(id, HTMLElement)
  const text = () => line.textContent ?? ''
  line.after(copyButton('Copy', `Copy the line for ${line.dataset.name}`, text, announce))
}
showCommands()

async function takeFiles(files: File[]): Promise<void> {
  if (files.length === 0) return
  const taken = await readFiles(files)
  if ('problem' in taken) showProblem({ message: taken.problem })
  else take(taken.text, taken.file)
}

function take(text: string, name?: string): void {
  editor.replace(text)
  file = name
  showCommands()
  void run()
}

async function run(): Promise<void> {
  running?.abort()
  const own = new AbortController()
  running = own
  showProblem(undefined)
  const text = editor.text()
  const problem = problemOf(text)
  panel.removeAttribute('aria-busy')
  if (problem !== undefined) {
    showProblem({ message: problem })
    return
  }
  panel.setAttribute('aria-busy', 'true')
  try {
    const answer = await askFor(text, modes(), own.signal)
    if (!('problem' in answer)) showAnswer(answer, text)
    // Its place would be another one in what people have written meanwhile.
    else if (editor.text() === text) showProblem(answer.problem)
  } catch (error) {
    // Somebody has asked anew meanwhile.
    if (!own.signal.aborted) throw error
  } finally {
    if (running === own) panel.removeAttribute('aria-busy')
  }
}

/** `text`: that it is about; people may have gone on writing. */
function showAnswer(answer: DryRunAnswer, text: string): void {
  welcome.hidden = true
  stale.hidden = editor.text() === text
  status.textContent = summaryOf(answer)
  layouts.hidden = answer.results.every(({ diff = '' }) => diff === '')
  results.show(answer)
}

function showProblem(problem: Problem | undefined): void {
  editor.mark(problem)
  textarea.removeAttribute('aria-invalid')
  problemBox.replaceChildren()
  if (problem === undefined) return
  textarea.setAttribute('aria-invalid', 'true')
  // What is shown would be of another text.
  results.clear()
  welcome.hidden = false
  stale.hidden = true
  status.textContent = ''
  layouts.hidden = true
  const { message, line, column } = problem
  problemBox.append(element('p', {}, message))
  if (line === undefined || column === undefined) return
  const place = `Line ${line}, column ${column}`
  const go = element('button', { type: 'button', class: 'small' }, place)
  go.addEventListener('click', () => editor.goTo(line, column))
  problemBox.prepend(go)
}

function showCommands(): void {
  const wish = { base: document.baseURI, ...(file === undefined ? {} : { file }), ...modes() }
  existing('curl', HTMLElement).textContent = curlLine(wish)
  existing('program', HTMLElement).textContent = programLine(wish)
}

function modes(): Modes {
  return { profile: chosen('profile'), tls: chosen('tls') }
}

function chosen(name: string): string {
  const input = document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)
  return input?.value ?? ''
}

/** For what is not written where it happens. */
function announce(text: string): void {
  announcer.textContent = text
}
