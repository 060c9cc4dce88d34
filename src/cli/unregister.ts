/**
 * `rayguard unregister`: takes away whatever of Rayguard stands between the API server and a pod.
 *
 * The policies' bindings first: without the webhook's patch they would refuse every pod of a `required` namespace. What
 * runs stays; the components, the policies without bindings and the namespaces' labels block nothing and stay too.
 */
import { parseArgs } from 'node:util'
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { KubernetesObject } from '../kubernetes/objects.ts'
import { clusterFlags, clusterHelp, listAll, withCluster, withRights } from './cluster.ts'
import { type Command, exitCodes } from './command.ts'
import { isLockDownPolicy } from './registration/bindings.ts'

const group = '/apis/admissionregistration.k8s.io/v1'
const ours = 'app.kubernetes.io/part-of=rayguard'

export const command: Command = {
  name: 'unregister',
  summary:
    'take away the registration and the policy bindings, so that nothing of Rayguard blocks pods',
  help: `Usage: rayguard unregister [OPTIONS]

Deletes the bindings of Rayguard's ValidatingAdmissionPolicies, then its ValidatingWebhookConfiguration and its
MutatingWebhookConfiguration, with your own rights (list, get and delete on them). New Ray pods are made as if Rayguard were
not there; what runs goes on. Nothing else is touched. Helm and GitOps bring back what their manifests hold.

A Ray cluster on TLS cannot take in a pod that is made afterwards.

Options:
  --dry-run              say what would be deleted, and delete nothing
${clusterHelp}
  -h, --help             show this text

Exit codes: 0 nothing of it is left; 1 something could not be deleted; 2 wrong arguments.
`,
  async run(argumentsList, io) {
    const { values } = parseArgs({
      args: argumentsList,
      options: { 'dry-run': { type: 'boolean', default: false }, ...clusterFlags }
    })
    const dryRun = values['dry-run']
    const work = async (client: Client) => {
      let problems = 0
      let removed = 0
      for (const { kind, name, place } of await standing(client)) {
        try {
          if (!dryRun) await client.remove(place)
          io.stdout.write(`${kind} ${name} ${dryRun ? 'would be deleted' : 'deleted'}\n`)
          removed += 1
        } catch (error) {
          if (!(error instanceof KubernetesError)) throw error
          problems += 1
          io.stderr.write(`${kind} ${name}: ${error.message}\n`)
          // Without the webhook the binding that is left would refuse every pod.
          if (kind === binding) break
        }
      }
      if (removed + problems === 0) io.stdout.write('Nothing of Rayguard is registered.\n')
      return problems > 0 ? exitCodes.failed : exitCodes.ok
    }
    return withRights('unregister', () => withCluster(values, work), io)
  }
}

interface Standing {
  kind: string
  name: string
  place: string
}

const binding = 'ValidatingAdmissionPolicyBinding'

/** In the order in which they may go. */
async function standing(client: Client): Promise<Standing[]> {
  const found: Standing[] = []
  for (const { name, policyName } of await bindings(client)) {
    // A label is soon copied, and the guards of our own accounts block no pod.
    if (!isLockDownPolicy(policyName)) continue
    const place = `${group}/validatingadmissionpolicybindings/${encodeURIComponent(name)}`
    found.push({ kind: binding, name, place })
  }
  for (const kind of ['ValidatingWebhookConfiguration', 'MutatingWebhookConfiguration']) {
    const place = `${group}/${kind.toLowerCase()}s/rayguard`
    if (await client.get(place)) found.push({ kind, name: 'rayguard', place })
  }
  return found
}

interface Binding extends KubernetesObject {
  spec?: { policyName?: string }
}

/** None where the API server has no such policies (Kubernetes before 1.30). */
async function bindings(client: Client): Promise<{ name: string; policyName: string }[]> {
  try {
    const all = await listAll<Binding>(client, `${group}/validatingadmissionpolicybindings`, ours)
    return all.map(({ metadata, spec }) => ({
      name: metadata.name ?? '',
      policyName: spec?.policyName ?? ''
    }))
  } catch (error) {
    if (error instanceof KubernetesError && error.code === 'NotFound') return []
    throw error
  }
}
