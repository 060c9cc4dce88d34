/**
 * From the bytes of a request to the bytes of its answer: what the thread does.
 *
 * Pure. Bounded in what comes out; how long it takes is for worker.ts to watch.
 */
import { type DryRun, type DryRunOptions, dryRun } from './dry-run.ts'
import { textOf, withDiff } from './render.ts'
import type { DryRunErrorCode, Output, PassedOver } from './schemas.ts'

export interface Question {
  body: Uint8Array
  output: Output
  /** With `json`: the diffs, too. */
  diff: boolean
  options: DryRunOptions
}

export type Answer = { body: Uint8Array; pods: number } | { problem: Problem }

export interface Problem {
  code: DryRunErrorCode
  message: string
  document?: number
  line?: number
  column?: number
}

/** A MiB of what people write becomes four, with patch, pod and diff. */
const maximumAnswer = 8 * 1024 * 1024
const maximumPods = 500

export function answer({ body, output, diff, options }: Question): Answer {
  const text = decode(body)
  if (text === undefined) {
    return refused('Encoding', 'expected UTF-8 text, found other bytes; send JSON or YAML in UTF-8')
  }
  const run = dryRun(text, { ...options, maximumPods })
  if ('problem' in run) return run
  const [first] = run.passedOver
  if (run.results.length === 0) {
    return first === undefined
      ? refused('Empty', 'expected a Pod, a Ray resource or another document, found none')
      : { problem: { code: 'Unsupported', ...first } }
  }
  const written = write(run, output, diff)
  return written === undefined
    ? refused(
        'AnswerTooLarge',
        `the answer has more than ${maximumAnswer} bytes; send fewer documents at a time`
      )
    : { body: new TextEncoder().encode(written), pods: run.results.length }
}

function refused(code: DryRunErrorCode, message: string): Answer {
  return { problem: { code, message } }
}

/** Without its byte order mark. */
function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** Undefined where it would be too much. Attack: a long name of a RayCluster, which each of its pods repeats. */
function write(run: DryRun, output: Output, diff: boolean): string | undefined {
  const parts: string[] = []
  let length = 0
  for (const [index, result] of run.results.entries()) {
    const submitted = run.submitted[index]
    const part =
      output === 'json'
        ? JSON.stringify(diff ? withDiff(result, submitted) : result)
        : textOf(result, submitted, output)
    length += Buffer.byteLength(part)
    if (length > maximumAnswer) return undefined
    parts.push(part)
  }
  switch (output) {
    case 'json':
      return `{"results":[${parts.join(',')}]${passedOver(run.passedOver)}}`
    // Without a line break at its end: for one AdmissionReview it is what the webhook answers, byte for byte.
    case 'patch':
      return parts.join('\n')
    default:
      return parts.join('')
  }
}

function passedOver(documents: PassedOver[]): string {
  return documents.length === 0 ? '' : `,"passedOver":${JSON.stringify(documents)}`
}
