/**
 * `rayguard pause` and the half that `rayguard resume` shares with it: the label that every entry of the registration and
 * every policy binding leaves out, set with the rights of the person who asks.
 */
import { parseArgs } from 'node:util'
import { pausedLabel } from '../contract/pod.ts'
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { Namespace, WebhookConfiguration } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import { clusterFlags, clusterHelp, listAll, withCluster } from './cluster.ts'
import { type Command, type CommandIo, exitCodes, UsageError } from './command.ts'
import { isCovered, isPaused, registrationPath } from './covered.ts'

export const command: Command = pauseCommand(Date.now)

export function pauseCommand(clock: () => number): Command {
  return {
    name: 'pause',
    summary: 'leave namespaces alone for a while, so that nothing of Rayguard is in the way',
    help: `Usage: rayguard pause NAMESPACE... | --all

Sets the label ${pausedLabel} on the namespaces, with your own rights. Every webhook entry and every policy of
Rayguard leaves such a namespace out: new Ray pods there get no TLS and no Pod Security fields, and wait for nothing of
Rayguard. Pods that run keep what they have. The label is the time at which you paused. \`rayguard resume\` takes it away.

A Ray cluster on TLS cannot take in a pod that is made while its namespace is paused.

Options:
  --all                  every namespace that the registration covers now; those that are made later are not paused
${clusterHelp}
  -h, --help             show this text

Exit codes: 0 done; 1 some namespace could not be labelled; 2 wrong arguments.
`,
    async run(argumentsList, io) {
      const value = new Date(clock()).toISOString().replace(/\.\d+/, '').replaceAll(':', '-')
      return relabel(argumentsList, io, {
        value,
        wanted: namespace => !isPaused(namespace),
        done: 'paused',
        already: 'is paused already',
        meaning:
          'New Ray pods there get no TLS and no Pod Security fields until: rayguard resume. Ray clusters on TLS cannot grow ' +
          'meanwhile.'
      })
    }
  }
}

export interface Relabelling {
  /** null takes the label away. */
  value: string | null
  wanted(namespace: Namespace): boolean
  done: string
  already: string
  meaning: string
}

export async function relabel(
  argumentsList: string[],
  io: CommandIo,
  relabelling: Relabelling
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: argumentsList,
    allowPositionals: true,
    options: { all: { type: 'boolean' }, ...clusterFlags }
  })
  if (values.all === true ? positionals.length > 0 : positionals.length === 0) {
    throw new UsageError('expected either namespaces or --all')
  }
  return withCluster(values, async client => {
    const { namespaces, problems } = values.all
      ? await allOf(client, relabelling.value !== null)
      : await named(client, positionals)
    const changed = await labelled(client, namespaces, relabelling, problems, io)
    for (const problem of problems) io.stderr.write(`${problem}\n`)
    if (values.all && namespaces.length === 0) io.stdout.write('There is no such namespace.\n')
    if (changed > 0) io.stdout.write(`${relabelling.meaning}\n`)
    return problems.length > 0 ? exitCodes.failed : exitCodes.ok
  })
}

interface Found {
  namespaces: Namespace[]
  problems: string[]
}

async function allOf(client: Client, onlyCovered: boolean): Promise<Found> {
  const namespaces = await listAll<Namespace>(client, '/api/v1/namespaces')
  // The label may be left from a registration that is gone.
  if (!onlyCovered) return { namespaces: namespaces.filter(isPaused), problems: [] }
  const registration = await client.get<WebhookConfiguration>(registrationPath)
  if (registration === undefined) {
    const problem =
      'There is no MutatingWebhookConfiguration "rayguard": nothing of Rayguard is in the way, and nothing is paused.'
    return { namespaces: [], problems: [problem] }
  }
  return { namespaces: namespaces.filter(each => isCovered(each, registration)), problems: [] }
}

async function named(client: Client, names: readonly string[]): Promise<Found> {
  const found: Found = { namespaces: [], problems: [] }
  for (const name of new Set(names)) {
    const namespace = await client.get<Namespace>(path`/api/v1/namespaces/${name}`)
    if (namespace) found.namespaces.push(namespace)
    else found.problems.push(`There is no namespace ${JSON.stringify(name)}.`)
  }
  return found
}

async function labelled(
  client: Client,
  namespaces: readonly Namespace[],
  { value, wanted, done, already }: Relabelling,
  problems: string[],
  io: CommandIo
): Promise<number> {
  let changed = 0
  for (const namespace of namespaces) {
    const { name = '' } = namespace.metadata
    if (!wanted(namespace)) {
      io.stdout.write(`${name} ${already}\n`)
      continue
    }
    try {
      const body = { metadata: { labels: { [pausedLabel]: value } } }
      await client.merge(path`/api/v1/namespaces/${name}`, body)
      io.stdout.write(`${name} ${done}\n`)
      changed += 1
    } catch (error) {
      if (!(error instanceof KubernetesError)) throw error
      problems.push(`${name}: ${error.message}`)
    }
  }
  return changed
}
