/**
 * `rayguard register`: has the API server ask Rayguard about Ray pods, in all namespaces or in one to begin with.
 *
 * Registers nothing that nobody would answer, takes no field from another owner without being told to, and waits until
 * the webhook has announced its CA. With the rights of the person who asks.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { stringify } from 'yaml'
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { KubernetesObject, WebhookConfiguration } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import { clusterFlags, clusterHelp, listAll, withCluster, withRights } from './cluster.ts'
import { type Command, type CommandIo, exitCodes, stoppedCode, UsageError } from './command.ts'
import { registrationPath, warningsPath } from './covered.ts'
import { type Part, planOf } from './registration/plan.ts'
import type { RegistrationOptions } from './registration/webhooks.ts'

/** Not the webhook's own `rayguard`, which owns the caBundle and nothing else. */
const registrationManager = 'rayguard-register'

export const command: Command = registerCommand({ waitMs: 30_000, everyMs: 500 })

export interface Patience {
  /** For the webhook to write its caBundle. */
  waitMs: number
  everyMs: number
}

export function registerCommand(patience: Patience): Command {
  return {
    name: 'register',
    summary: 'have the API server ask Rayguard about Ray pods, in all namespaces or in one',
    help: `Usage: rayguard register [OPTIONS]

Writes the MutatingWebhookConfiguration "rayguard" (pods), the ValidatingWebhookConfiguration "rayguard" (warnings about Ray
resources, which never refuses) and a binding of each lock-down policy that is installed, by server-side apply (field manager
${registrationManager}). They are the same that the manifests hold; where they are kept by Helm or GitOps, change the values
there instead.

It needs these rights of yours: get, create and patch on mutatingwebhookconfigurations, validatingwebhookconfigurations and
validatingadmissionpolicybindings, get on validatingadmissionpolicies and namespaces, list on endpointslices.

Options:
  --canary NAMESPACE     this namespace alone; \`rayguard register\` later covers all
  --exclude NAMESPACE    leave this one out; may be given more than once
  --namespace NAMESPACE  where Rayguard runs; default rayguard-system
  --cert-manager         cert-manager announces the CA (chart value serving.kind=certManager), not the webhook itself
  --dry-run              let the API server judge it, and change nothing
  --force                take fields from other owners; register although no webhook is ready
  -o, --output yaml      print the objects that stand then
${clusterHelp}
  -h, --help             show this text

Exit codes: 0 registered; 1 refused, or the webhook announces no CA; 2 wrong arguments; 130 or 143 stopped by a signal.
`,
    async run(argumentsList, io) {
      const { values } = parseArgs({
        args: argumentsList,
        options: {
          canary: { type: 'string' },
          exclude: { type: 'string', multiple: true },
          namespace: { type: 'string', default: 'rayguard-system' },
          'cert-manager': { type: 'boolean', default: false },
          'dry-run': { type: 'boolean', default: false },
          force: { type: 'boolean', default: false },
          output: { type: 'string', short: 'o' },
          ...clusterFlags
        }
      })
      if (values.output !== undefined && values.output !== 'yaml')
        throw new UsageError(`--output: expected yaml, found ${JSON.stringify(values.output)}`)
      const { canary, exclude, namespace, force, 'dry-run': dryRun } = values
      if (canary !== undefined && exclude !== undefined)
        throw new UsageError('expected --canary or --exclude, found both')
      if (canary === namespace || canary === 'kube-system')
        throw new UsageError(`--canary: ${canary} is always left out`)
      const options: RegistrationOptions = {
        namespace,
        certManager: values['cert-manager'],
        ...(canary === undefined ? {} : { canary }),
        ...(exclude === undefined ? {} : { excluded: exclude })
      }
      const work = async (client: Client) => {
        const problem = force ? undefined : await nobodyThere(client, options)
        if (problem !== undefined) return failed(io, problem)
        const { before, registration, after } = await planOf(client, options)
        const all = [...before, ...registration, ...after]
        // Judged as a whole before anything is written, so that nothing is left half done.
        const judged = await apply(client, all, { force, dryRun: true })
        if (typeof judged === 'string') return failed(io, judged)
        if (!dryRun) {
          const problem = await apply(client, [...before, ...registration], { force })
          if (typeof problem === 'string') return failed(io, problem)
        }
        const caBundle = dryRun ? 'written' : await announced(client, patience, io.signal)
        if (caBundle === 'written') {
          const problem = dryRun ? undefined : await apply(client, after, { force })
          if (typeof problem === 'string') return failed(io, problem)
          if (values.output === 'yaml') io.stdout.write(judged.map(shown).join('---\n'))
          else io.stdout.write(told(options, before.length + after.length, dryRun))
          return exitCodes.ok
        }
        if (caBundle === 'stopped') {
          failed(
            io,
            'Stopped before anybody has written a caBundle, so that Ray pods there cannot be created yet. ' +
              'Look with: rayguard status. To take the registration back: rayguard unregister'
          )
          return stoppedCode(io.signal)
        }
        return failed(
          io,
          `Nobody has written a caBundle within ${patience.waitMs / 1000} s, so that Ray pods there cannot be created. ` +
            (options.certManager
              ? `Look at: kubectl -n ${namespace} describe certificate rayguard-webhook, and the log of cert-manager's cainjector. `
              : `Look at: kubectl -n ${namespace} logs deployment/rayguard-webhook. `) +
            'To take the registration back: rayguard unregister'
        )
      }
      return withRights('register', () => withCluster(values, work), io)
    }
  }
}

function failed(io: CommandIo, message: string): number {
  io.stderr.write(`rayguard register: ${message}\n`)
  return exitCodes.failed
}

function coverage({ canary, excluded = [] }: RegistrationOptions): string {
  if (canary !== undefined) return `the namespace ${canary} alone`
  return excluded.length === 0 ? 'all namespaces' : `all namespaces but ${excluded.join(', ')}`
}

/** What the API server reaches behind a Service. */
interface EndpointSlice extends KubernetesObject {
  endpoints?: { conditions?: { ready?: boolean } }[] | null
}

/** failurePolicy is Fail: registered before anybody answers, no Ray pod could be created. */
async function nobodyThere(
  client: Client,
  { namespace, canary }: RegistrationOptions
): Promise<string | undefined> {
  if (canary !== undefined && !(await client.get(path`/api/v1/namespaces/${canary}`)))
    return `There is no namespace ${JSON.stringify(canary)}.`
  const slices = await listAll<EndpointSlice>(
    client,
    path`/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
    'kubernetes.io/service-name=rayguard-webhook'
  )
  const ready = slices.some(({ endpoints }) =>
    // https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions: absent means ready
    endpoints?.some(({ conditions }) => conditions?.ready !== false)
  )
  if (ready) return undefined
  return (
    `No replica of the webhook is ready behind the Service rayguard-webhook in the namespace ${namespace}, and without ` +
    'one no Ray pod could be created. Install it first (docs/install.md), name its namespace with --namespace, ' +
    'or use --force.'
  )
}

/** The objects, or what is in the way. */
async function apply(
  client: Client,
  parts: readonly Part[],
  { force, dryRun = false }: { force: boolean; dryRun?: boolean }
): Promise<KubernetesObject[] | string> {
  const applied: KubernetesObject[] = []
  for (const { place, body } of parts) {
    try {
      const options = { force, dryRun }
      applied.push(await client.apply<KubernetesObject>(place, body, registrationManager, options))
    } catch (error) {
      if (error instanceof KubernetesError && error.code === 'Conflict')
        return (
          `Others own these fields (${error.message}) Change them where they are kept, with Helm or in the manifests, ` +
          'or take them with --force.'
        )
      throw error
    }
  }
  return applied
}

/** What an object is, without who wrote which field of it. */
function shown({ metadata, ...rest }: KubernetesObject): string {
  const { name, labels, annotations } = metadata
  return stringify({ ...rest, metadata: { name, labels, ...(annotations ? { annotations } : {}) } })
}

function told(options: RegistrationOptions, bindings: number, dryRun: boolean): string {
  const policies = bindings === 0 ? '' : `, with ${bindings} policies where TLS is required`
  return `Registered for ${coverage(options)}${policies}${dryRun ? ' (dry run)' : ''}.\n`
}

async function announced(
  client: Client,
  { waitMs, everyMs }: Patience,
  signal: AbortSignal
): Promise<'written' | 'timeout' | 'stopped'> {
  for (const until = Date.now() + waitMs; ; ) {
    const whole = await Promise.all([registrationPath, warningsPath].map(hasCaBundles))
    if (whole.every(Boolean)) return 'written'
    if (signal.aborted) return 'stopped'
    if (Date.now() >= until) return 'timeout'
    await sleep(everyMs, undefined, { signal }).catch(() => {})
  }

  async function hasCaBundles(place: string): Promise<boolean> {
    const found = await client.get<WebhookConfiguration>(place)
    const entries = found?.webhooks ?? []
    return entries.length > 0 && entries.every(({ clientConfig }) => clientConfig?.caBundle)
  }
}
