import { parseArgs } from 'node:util'
import { type Enrolled, enroll } from '../agent/agent.ts'
import { createJournal, type Journal } from '../agent/journal.ts'
import { insidePod, readOptions } from '../agent/options.ts'
import { writeTerminationMessage } from '../agent/termination.ts'
import { type Command, type CommandIo, exitCodes, stoppedCode, UsageError } from './command.ts'

const help = `Usage: rayguard enroll [OPTIONS]

Gets the certificate of this pod: makes a key here, asks the enrollment server, and writes tls.key, ca.crt and tls.crt.
This is the injected init container; the webhook sets its variables. While the server cannot answer it asks again, for
ever. A pair of an earlier run is kept when it is right for this pod and has more than half of its life before it.

Options:
  --directory DIRECTORY      where the three files go (default /etc/rayguard/tls)
  --token-file FILE          the pod's token, read anew at each try
                             (default /var/run/secrets/rayguard.dev/token)
  --termination-log FILE     an existing file for the last words (default /dev/termination-log)
  --source-address ADDRESS   the local address that requests leave from
  --exit-delay SECONDS       wait this long before a failure ends the program; in a pod (RAYGUARD_POD_UID is set) 60 by
                             default, because a pod that fails at once is replaced at once; elsewhere 0
  -h, --help                 show this text

Variables:
  RAYGUARD_SERVER_URL        https://HOST[:PORT] of the enrollment server
  RAYGUARD_SERVER_CA         PEM; the only CA that vouches for that server
  RAYGUARD_POD_IPS           the pod's addresses, separated by commas
  RAYGUARD_KEY_ALGORITHM     P-256 (default), P-384, RSA-2048, RSA-3072 or RSA-4096
  RAYGUARD_KEY_GROUP         number of the group that may read the key (mode 0440); empty: its owner alone (0400)
  RAYGUARD_POD_NAME, RAYGUARD_POD_NAMESPACE, RAYGUARD_POD_UID
                             which pod this is, for messages

Exit codes: 0 the files are there; 1 refused for good, or the files cannot be written; 2 wrong options or variables;
130 and 143 stopped by SIGINT and SIGTERM.
`

export const command: Command = {
  name: 'enroll',
  summary: 'get the certificate of this pod (the injected init container)',
  help,
  run: (argumentsList, io) => Promise.race([runToEnd(argumentsList, io), stopped(io.signal)])
}

/** The program exits with this at once; files are only ever written as a whole set, so nothing is left half done. */
function stopped(signal: AbortSignal): Promise<number> {
  return new Promise(resolve => {
    const end = () => resolve(stoppedCode(signal))
    if (signal.aborted) end()
    signal.addEventListener('abort', end, { once: true })
  })
}

async function runToEnd(argumentsList: string[], io: CommandIo): Promise<number> {
  const { values } = parseArgs({ args: argumentsList, options: flags })
  const journal = createJournal(Date.now, text => io.stderr.write(text))
  const terminationLog = values['termination-log'] ?? '/dev/termination-log'
  const exitDelay = readExitDelay(values['exit-delay'], insidePod(io.environment))

  const { options, errors } = readOptions(io.environment, values)
  if (options === undefined) {
    lastWords(journal, terminationLog, 'Configuration', errors.join(' '))
    await sleep(exitDelay)
    return exitCodes.usage
  }
  const outcome = await enroll(options, { now: Date.now, random: Math.random, sleep, journal })
  if (outcome.kind === 'refused') {
    lastWords(
      journal,
      terminationLog,
      outcome.code,
      explain(outcome, options.pod),
      outcome.requestId
    )
    await sleep(exitDelay)
    return exitCodes.failed
  }
  const { summary } = outcome.pair
  writeTerminationMessage(terminationLog, summary)
  const { serialNumber, notAfter } = summary
  const deed =
    outcome.kind === 'kept' ? 'Kept the certificate that is there' : 'Wrote the certificate'
  journal.write({ level: 'info', message: `${deed}: ${serialNumber}, valid until ${notAfter}.` })
  return exitCodes.ok
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

const flags = {
  directory: { type: 'string' },
  'token-file': { type: 'string' },
  'termination-log': { type: 'string' },
  'source-address': { type: 'string' },
  'exit-delay': { type: 'string' }
} as const

function readExitDelay(text: string | undefined, inPod: boolean): number {
  if (text === undefined) return inPod ? 60_000 : 0
  if (/^\d{1,4}$/.test(text)) return Number(text) * 1000
  throw new UsageError(
    `--exit-delay must be whole seconds, 0 to 9999; found ${JSON.stringify(text)}.`
  )
}

function explain(outcome: Enrolled & { kind: 'refused' }, pod: string | undefined): string {
  const advice =
    outcome.code === 'Directory' || outcome.code === 'KeyGroup'
      ? 'Compare the container and its volume with what the webhook injects.'
      : 'The log of the enrollment server has the reason beside the request id.'
  return `${pod ?? 'This pod'} gets no certificate: ${outcome.message} ${advice}`
}

/** Said twice: in the log for who follows it, and in the container's status for who comes later. */
function lastWords(
  journal: Journal,
  terminationLog: string,
  code: string,
  message: string,
  requestId?: string
): void {
  const request = requestId === undefined ? {} : { requestId }
  journal.write({ level: 'error', message, code, ...request })
  writeTerminationMessage(terminationLog, { code, message, ...request })
}
