#!/usr/bin/env node
/**
 * The program's entry: argv to a command, the process' streams and signals to what commands are handed.
 *
 * Nothing here is loaded that `rayguard enroll` does not need: it starts once in every Ray pod.
 */
import { type CommandTable, dispatch } from './cli/dispatch.ts'

const commands: CommandTable = {
  serve: () => import('./cli/serve.ts'),
  status: () => import('./cli/status.ts'),
  register: () => import('./cli/register.ts'),
  unregister: () => import('./cli/unregister.ts'),
  pause: () => import('./cli/pause.ts'),
  resume: () => import('./cli/resume.ts'),
  'check-config': () => import('./cli/check-config.ts'),
  'dry-run': () => import('./cli/dry-run.ts'),
  'pod-security': () => import('./cli/pod-security.ts'),
  verify: () => import('./cli/verify.ts'),
  ca: () => import('./cli/ca.ts'),
  'client-cert': () => import('./cli/client-cert.ts'),
  enroll: () => import('./cli/enroll.ts'),
  demo: () => import('./cli/demo.ts')
}

const stop = new AbortController()
for (const [name, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15]
] as const) {
  process.on(name, () => {
    // Who asks twice does not want to wait for a graceful end.
    if (stop.signal.aborted) process.exit(128 + number)
    stop.abort(name)
  })
}

// `rayguard … | head`: the reader has what it wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1)
})

process.exit(
  await dispatch(commands, process.argv.slice(2), {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    environment: process.env,
    signal: stop.signal
  })
)
