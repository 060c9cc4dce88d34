import { parseArgs } from 'node:util'
import { isPodSecurityMode, isTlsMode, type RequestedModes } from '../admission/modes.ts'
import { podSecurityModes, tlsModes } from '../contract/pod.ts'
import type { InjectionSettings } from '../injection/settings.ts'
import { coloured } from '../preview/diff.ts'
import { type DryRun, dryRun } from '../preview/dry-run.ts'
import { textOf } from '../preview/render.ts'
import { type Output, outputs, type PassedOver } from '../preview/schemas.ts'
import { modelledKubeRay } from '../ray/foretold.ts'
import { errorLine, loadSettings } from '../settings/load.ts'
import { type Command, type CommandIo, exitCodes, UsageError } from './command.ts'
import { inputHelp, readInput, readInputs } from './input.ts'
import { shownSettings, standIns } from './stand-ins.ts'

const help = `Usage: rayguard dry-run -f FILE [OPTIONS]

Shows what the webhook would do to pods, offline: nothing is read but the file, and nothing is changed.

The file holds any number of documents, in JSON or YAML, with a line --- between or one JSON object a line: Pods;
RayClusters, RayJobs, RayServices and RayCronJobs, shown as the pods that KubeRay ${modelledKubeRay} makes of them; Lists of these;
and AdmissionReviews as the API server sends them. Documents of other kinds are passed over, and said; a file of them alone is
an error.

Options:
${inputHelp}
  -o, --output OUTPUT    json (default): everything, as {"results": [...]}
                         patch: one JSON patch (RFC 6902) a line, one line for each pod
                         yaml: the pods as they would run
                         diff: unified, before and after; coloured on a terminal unless NO_COLOR is set
  --profile MODE         what happens with what violates Pod Security restricted: enforce, warn (default), audit, off
  --tls MODE             tls (default), required (nothing may bring its own), no-tls
  --config FILE          the settings file of the webhook (or RAYGUARD_CONFIG); without it image, address and CA of the
                         enrollment server stand for themselves
  -h, --help             show this text

Exit codes: 0 all pods are admitted and comply; 1 a pod is refused, or violations remain; 2 wrong options, settings or
documents.
`

export const command: Command = {
  name: 'dry-run',
  summary: 'show what the webhook would do to pods and RayClusters, offline',
  help,
  async run(argumentsList, io) {
    const options = readOptions(argumentsList)
    const configured = await readSettings(options.config ?? io.environment.RAYGUARD_CONFIG, io)
    if (configured === undefined) return exitCodes.usage
    const inputs = await readInputs(options.files, io)
    const all: DryRun = { results: [], submitted: [], passedOver: [], failed: false }
    const others: string[] = []
    for (const { name, text } of inputs) {
      const run = dryRun(text, { ...options.modes, ...configured })
      if ('problem' in run) {
        io.stderr.write(`${placed(name, run.problem)}\n`)
        return exitCodes.usage
      }
      for (const other of run.passedOver) others.push(placed(name, other))
      all.failed ||= run.failed
      for (const object of run.submitted) all.submitted.push(object)
      for (const result of run.results) {
        const source = inputs.length > 1 ? `${name}: ${result.source}` : result.source
        all.results.push({ ...result, source })
      }
    }
    for (const other of others) io.stderr.write(`${other}\n`)
    if (others.length > 0 && all.results.length === 0) return exitCodes.usage
    write(all, options.output, io)
    return all.failed ? exitCodes.failed : exitCodes.ok
  }
}

function placed(name: string, { document, line, column, message }: PassedOver): string {
  return `${name}: document ${document}, line ${line}, column ${column}: ${message}`
}

interface Options {
  files: string[]
  output: Output
  modes: RequestedModes
  config?: string
}

function readOptions(argumentsList: string[]): Options {
  const { values } = parseArgs({
    args: argumentsList,
    options: {
      file: { type: 'string', short: 'f', multiple: true, default: [] },
      output: { type: 'string', short: 'o', default: 'json' },
      profile: { type: 'string' },
      tls: { type: 'string' },
      config: { type: 'string' }
    }
  })
  const { file: files, output, profile, tls, config } = values
  if (!isOutput(output)) throw unknown('--output', output, outputs)
  const modes: RequestedModes = {}
  if (profile !== undefined) {
    if (!isPodSecurityMode(profile)) throw unknown('--profile', profile, podSecurityModes)
    modes.podSecurity = profile
  }
  if (tls !== undefined) {
    if (!isTlsMode(tls)) throw unknown('--tls', tls, tlsModes)
    modes.tls = tls
  }
  return { files, output, modes, ...(config === undefined ? {} : { config }) }
}

function isOutput(text: string): text is Output {
  return (outputs as readonly string[]).includes(text)
}

function unknown(option: string, found: string, known: readonly string[]): UsageError {
  const expected = `${option} must be one of ${known.join(', ')}`
  return new UsageError(`${expected}; found ${JSON.stringify(found)}`)
}

interface Configured {
  settings: InjectionSettings
  clusterDomain: string
}

/** Undefined after the errors have been written. */
async function readSettings(
  file: string | undefined,
  io: CommandIo
): Promise<Configured | undefined> {
  if (file === undefined) return { settings: standIns, clusterDomain: 'cluster.local' }
  const loaded = await loadSettings({ file, environment: io.environment })
  if ('errors' in loaded) {
    for (const error of loaded.errors) io.stderr.write(`${errorLine(error)}\n`)
    return undefined
  }
  const { injection, kubernetes } = loaded.settings
  const { serverCaFile } = injection
  const serverCa = serverCaFile === undefined ? undefined : (await readInput(serverCaFile)).text
  const namespace = kubernetes.namespace ?? 'rayguard-system'
  return {
    settings: shownSettings(loaded.settings, { namespace, serverCa }),
    clusterDomain: kubernetes.clusterDomain
  }
}

function write({ results, submitted, failed }: DryRun, output: Output, io: CommandIo): void {
  if (output === 'json') {
    io.stdout.write(`${JSON.stringify({ results }, null, 2)}\n`)
    return
  }
  const inColour = io.stdout.isTTY === true && !io.environment.NO_COLOR
  for (const [index, result] of results.entries()) {
    const text = textOf(result, submitted[index], output)
    if (output === 'patch') io.stdout.write(`${text}\n`)
    else io.stdout.write(output === 'diff' && inColour ? coloured(text) : text)
  }
  if (!failed) return
  // The output is a patch, a pod or a diff, so that what stands against it has to be said beside.
  for (const { source, message, warnings } of results) {
    const texts = message === undefined ? warnings : [message]
    for (const text of texts) io.stderr.write(`${source}: ${text}\n`)
  }
}
