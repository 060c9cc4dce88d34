/**
 * What every command of `rayguard` is to the program around it.
 *
 * Decides nothing but the exit codes' meaning; no command reads argv, the environment or a signal past what it is handed.
 */
import type { Readable } from 'node:stream'

export interface Command {
  name: string
  /** One line without a full stop, the same as in `rayguard --help`. */
  summary: string
  /** The whole text of `rayguard NAME --help`, with a line break at its end. */
  help: string
  /** Resolves to an {@link exitCodes} value. `--help` never reaches it. A {@link UsageError} ends with the usage code. */
  run(argumentsList: string[], io: CommandIo): Promise<number>
}

export interface CommandIo {
  stdin: Readable
  stdout: TextSink
  stderr: TextSink
  environment: Environment
  /** Aborted by the first SIGTERM or SIGINT. A second one ends the process at once. */
  signal: AbortSignal
}

export interface TextSink {
  write(text: string): unknown
  readonly isTTY?: boolean
}

export type Environment = Readonly<Record<string, string | undefined>>

export type LoadCommand = () => Promise<{ command: Command }>

export const exitCodes = {
  ok: 0,
  /** Refused, violations remain, or a fault. */
  failed: 1,
  /** The arguments or the configuration are wrong: nothing was tried. */
  usage: 2
} as const

/** Of a command that a signal has ended, as shells count. */
export function stoppedCode(signal: AbortSignal): number {
  return signal.reason === 'SIGINT' ? 130 : 143
}

/** The arguments are wrong. The message says what was expected and what was found; the program adds where the help is. */
export class UsageError extends Error {
  readonly code = 'Usage'

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'UsageError'
  }
}
