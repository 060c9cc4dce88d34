/** Runs a command inside the test's process, with streams, environment and signal of the test's own. */
import { Readable } from 'node:stream'
import type { Command, CommandIo } from '../../src/cli/command.ts'

export interface CapturedIo extends CommandIo {
  out(): string
  err(): string
  /** What SIGTERM does. */
  abort(): void
}

export function captureIo(
  environment: Record<string, string> = {},
  onOut: (text: string) => void = () => {}
): CapturedIo {
  let out = ''
  let err = ''
  const stop = new AbortController()
  return {
    stdin: Readable.from([]),
    stdout: {
      write(text) {
        out += text
        onOut(text)
      }
    },
    stderr: {
      write(text) {
        err += text
      }
    },
    environment,
    signal: stop.signal,
    out: () => out,
    err: () => err,
    abort: () => stop.abort('SIGTERM')
  }
}

export async function runCommand(
  command: Command,
  argumentsList: string[],
  environment: Record<string, string> = {}
): Promise<{ code: number; out: string; err: string }> {
  const io = captureIo(environment)
  const code = await command.run(argumentsList, io)
  return { code, out: io.out(), err: io.err() }
}
