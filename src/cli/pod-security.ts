/** `rayguard pod-security`: judges pods by the Pod Security Standard, offline, in the words of the API server. */
import { parseArgs } from 'node:util'
import { refuseOddShape } from '../injection/shape.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { withDefaults } from '../pod-security/defaults.ts'
import { evaluate } from '../pod-security/evaluate.ts'
import {
  type AppliedCheck,
  checksOf,
  type Level,
  levels,
  minorOf,
  newestMinor
} from '../pod-security/standard.ts'
import { readDocuments } from '../preview/documents.ts'
import { podsOf } from '../preview/sources.ts'
import { type Command, type CommandIo, exitCodes, UsageError } from './command.ts'
import { type Input, inputHelp, readInputs } from './input.ts'

const outputs = ['text', 'json'] as const

export const command: Command = {
  name: 'pod-security',
  summary: 'judge pods by the Pod Security Standard, offline',
  help: `Usage: rayguard pod-security -f FILE [OPTIONS]

Says what the API server would say of Pods in a namespace that enforces a level: the same checks, the same words. Takes Pods
and Lists of Pods, in any number of JSON or YAML documents; what the API server would fill in is filled in first.

Options:
${inputHelp}
  --level LEVEL          restricted (default) or baseline
  --version VERSION      latest (default) or v1.N; v1.${newestMinor} is the newest that is known, and later ones are taken for it
  -o, --output OUTPUT    text (default) or json: {"results": [{"source", "allowed", "violations": [{"id", "reason", "detail"}]}]}
  -h, --help             show this text

Exit codes: 0 all pods are allowed; 1 a pod violates the level; 2 wrong options or documents.
`,
  async run(argumentsList, io) {
    const { values } = parseArgs({
      args: argumentsList,
      options: {
        file: { type: 'string', short: 'f', multiple: true, default: [] },
        level: { type: 'string', default: 'restricted' },
        version: { type: 'string', default: 'latest' },
        output: { type: 'string', short: 'o', default: 'text' }
      }
    })
    const { level, version } = values
    const output = oneOf('--output', values.output, outputs)
    const checks = checksOf(oneOf('--level', level, levels), minor(version))
    const results: Result[] = []
    for (const input of await readInputs(values.file, io)) {
      const judged = judge(input, checks)
      if ('problem' in judged) {
        io.stderr.write(`${judged.problem}\n`)
        return exitCodes.usage
      }
      for (const result of judged.results) results.push(result)
    }
    if (output === 'json') io.stdout.write(`${JSON.stringify({ results }, null, 2)}\n`)
    else writeText(results, `${level as Level}:${version}`, io)
    return results.every(({ allowed }) => allowed) ? exitCodes.ok : exitCodes.failed
  }
}

interface Result {
  source: string
  allowed: boolean
  violations: { id: string; reason: string; detail: string }[]
}

function judge(
  { name, text }: Input,
  checks: readonly AppliedCheck[]
): { results: Result[] } | { problem: string } {
  const read = readDocuments(text)
  if ('problem' in read) {
    const { document, line, column, message } = read.problem
    return { problem: `${name}: document ${document}, line ${line}, column ${column}: ${message}` }
  }
  const results: Result[] = []
  for (const document of read.documents) {
    const found = podsOf(document)
    const at = `${name}: document ${document.number}, line ${document.place.line}`
    if ('problem' in found) return { problem: `${at}: ${found.problem}` }
    for (const { name: place, pod } of found.pods) {
      const odd = refuseOddShape(pod)
      if (odd) return { problem: `${name}: ${place}: ${odd.reason}` }
      const violations = evaluate(withDefaults(pod as Pod), checks).map(
        ({ id, reason, detail }) => ({ id, reason, detail })
      )
      results.push({
        source: `${name}: ${place}${named(pod as Pod)}`,
        allowed: violations.length === 0,
        violations
      })
    }
  }
  return { results }
}

function named({ metadata: { namespace, name, generateName } }: Pod): string {
  const shown = name ?? (generateName === undefined ? undefined : `${generateName}*`)
  if (shown === undefined) return ''
  return ` (${namespace === undefined ? '' : `${namespace}/`}${shown})`
}

function writeText(results: readonly Result[], policy: string, io: CommandIo): void {
  for (const { source, allowed, violations } of results) {
    io.stdout.write(`${allowed ? '✓' : '✗'} ${source}${allowed ? '' : ` violates ${policy}`}\n`)
    for (const { id, reason, detail } of violations)
      io.stdout.write(`    ${id}: ${reason} (${detail})\n`)
  }
  if (results.length === 0) io.stdout.write('There are no pods.\n')
}

function minor(version: string): number {
  const found = minorOf(version)
  if (found !== undefined) return found
  throw new UsageError(`--version must be latest or v1.N; found ${JSON.stringify(version)}`)
}

function oneOf<T extends string>(option: string, found: string, known: readonly T[]): T {
  const match = known.find(each => each === found)
  if (match !== undefined) return match
  throw new UsageError(
    `${option} must be one of ${known.join(', ')}; found ${JSON.stringify(found)}`
  )
}
