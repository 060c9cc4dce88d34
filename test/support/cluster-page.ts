/**
 * A page of docs/, followed as a reader follows it: the commands of a section, one after the other, in one shell, in a
 * folder that looks like a clone. Nothing of them is repeated in the tests, so that the page cannot say anything else.
 */
import { spawn } from 'node:child_process'
import { readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'

export interface Reader {
  /** Where the commands run. */
  folder: string
  /** Standard output. Rejects when a command fails, with its words. */
  follow(section: Section): Promise<string>
  /** For commands that have no end; they end with the test. */
  begin(section: Section): void
}

interface Section {
  /** Below docs/. */
  page: string
  /** Its heading; what stands under lower headings belongs to it. */
  heading: string
  /** What a reader has to put in the place of what the page says. Each has to stand there. */
  changes?: Record<string, string>
}

const limitMs = 240_000
/** The suite has variables of its own that begin as those of the settings do; they are not the program's. */
const preparation = `set -euo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
npx() { (unset \${!RAYGUARD_@}; command npx "$@"); }`

/** `programs`: a folder whose programs come before those of the machine. `kubeconfig`: of a reader who is no administrator. */
export function openReader(t: Test, programs?: string, kubeconfig?: string): Reader {
  const folder = t.testdir({})
  for (const name of ['manifests', 'dist', 'node_modules', 'package.json'])
    symlinkSync(resolve(name), join(folder, name))
  const own = kubeconfig === undefined ? {} : { KUBECONFIG: kubeconfig }
  const PATH = `${programs === undefined ? '' : `${programs}:`}${process.env.PATH}`
  const groups = new Set<number>()
  // what a page begins in the background (`&`) belongs to the group of its shell
  t.teardown(() => {
    for (const group of groups) end(group)
  })

  function start(section: Section) {
    const script = `${preparation}\n${commandsOf(section)}`
    const child = spawn('bash', ['-c', script], {
      ...{ cwd: folder, detached: true, env: { ...process.env, ...own, PATH } },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    if (child.pid !== undefined) groups.add(child.pid)
    return child
  }

  return {
    folder,
    begin(section) {
      const child = start(section)
      child.stdout.resume()
      child.stderr.resume()
    },
    follow: section =>
      new Promise((done, reject) => {
        const child = start(section)
        const [output, errors]: [Buffer[], Buffer[]] = [[], []]
        const limit = setTimeout(() => end(child.pid ?? 0), limitMs)
        child.stdout.on('data', chunk => output.push(chunk))
        child.stderr.on('data', chunk => errors.push(chunk))
        child.once('error', reject)
        child.once('exit', code => {
          clearTimeout(limit)
          const words = Buffer.concat(output).toString()
          const where = `${section.page}, “${section.heading}”`
          if (code === 0) return done(words)
          // so that what it has begun in the background is not in the way of who tries again
          end(child.pid ?? 0)
          reject(new Error(`${where}: ${code ?? 'no end'}\n${words}${Buffer.concat(errors)}`))
        })
      })
  }
}

function end(group: number): void {
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // nothing of it runs any more
  }
}

function commandsOf({ page, heading, changes = {} }: Section): string {
  let commands = fencesOf(page, heading, 'sh').join('\n')
  if (commands === '') throw new Error(`docs/${page} has no commands under “${heading}”`)
  for (const [from, to] of Object.entries(changes)) {
    if (!commands.includes(from)) throw new Error(`docs/${page} has no ${from} any more`)
    commands = commands.replaceAll(from, to)
  }
  return commands
}

/** What stands in the fences of this language under the heading. */
export function fencesOf(page: string, heading: string, language: string): string[] {
  const found: string[] = []
  let [level, fence]: [number, string | undefined] = [0, undefined]
  for (const line of readFileSync(join('docs', page), 'utf8').split('\n')) {
    const [, marks = '', words] = /^(#+) (.*)$/.exec(line) ?? []
    if (fence !== undefined) {
      if (line === '```') fence = undefined
      else if (fence === language && level > 0) found.push(`${found.pop() ?? ''}${line}\n`)
    } else if (line.startsWith('```')) {
      fence = line.slice(3)
      if (fence === language && level > 0) found.push('')
    } else if (words === heading) level = marks.length
    else if (marks !== '' && marks.length <= level) level = 0
  }
  return found
}
