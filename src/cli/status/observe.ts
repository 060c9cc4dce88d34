/**
 * Everything that `rayguard status` looks at, read once, with the rights of the person who asks.
 *
 * Reads only. What cannot be read is noted and left out; whether that matters is for the checks.
 */
import type { ReplicaStatus } from '../../contract/status.ts'
import type { Client } from '../../kubernetes/client.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import type {
  KubernetesObject,
  Namespace,
  Pod,
  WebhookConfiguration
} from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'
import { clusterLabel } from '../../ray/classify.ts'
import { listAll } from '../cluster.ts'
import { registrationPath, warningsPath } from '../covered.ts'
import { type RightFound, rightsOf } from './rights.ts'
import { type ManifestSettings, manifestSettings } from './settings.ts'

export interface Observed {
  /** Milliseconds since the epoch, here. */
  now: number
  /** Rayguard's own namespace. */
  namespace: string
  version: { major: string; minor: string; gitVersion: string } | undefined
  /** How far the API server's clock is before ours. */
  clockAheadMs: number | undefined
  registration: WebhookConfiguration | undefined
  /** The one for Ray resources, of which whoever applies them is warned. */
  warnings: WebhookConfiguration | undefined
  namespaces: Namespace[] | undefined
  rayPods: Pod[] | undefined
  replicas: Replica[] | undefined
  /** The components that are installed, whether replicas of them run or not. */
  components: string[] | undefined
  settings: ManifestSettings | undefined
  policies: { kind: string; name: string }[] | undefined
  rights: RightFound[] | undefined
  /** What could not be read, in the API's words. */
  faults: { what: keyof Observed | 'kubernetes'; code: string; message: string }[]
}

export interface Replica {
  name: string
  component: string
  pod: Pod
  /** Undefined where it did not answer through the API server. */
  status: ReplicaStatus | undefined
  fault?: string
}

export interface ObserveOptions {
  namespace: string
  /** Only the Ray pods of this one. */
  rayNamespace?: string | undefined
  clock: () => number
  clockAheadMs(): number | undefined
}

const policyResources = {
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: 'validatingadmissionpolicybindings'
}
const ours = 'app.kubernetes.io/name=rayguard'
const componentLabel = 'app.kubernetes.io/component'

/** Throws {@link KubernetesError} only where the API does not answer at all. */
export async function observe(client: Client, options: ObserveOptions): Promise<Observed> {
  const { namespace, rayNamespace } = options
  const faults: Observed['faults'] = []
  const attempt = <T>(what: keyof Observed, read: () => Promise<T>): Promise<T | undefined> =>
    read().catch((error: unknown) => {
      if (!(error instanceof KubernetesError)) throw error
      faults.push({ what, code: error.code, message: error.message })
      return undefined
    })
  const { text } = await client.look('/version')
  const version = versionOf(text)
  const pods =
    rayNamespace === undefined ? '/api/v1/pods' : path`/api/v1/namespaces/${rayNamespace}/pods`
  // which rights are needed hangs on them
  const [components, settings, replicas] = await Promise.all([
    attempt('components', () => componentsIn(client, namespace)),
    attempt('settings', () => manifestSettings(client, namespace)),
    attempt('replicas', () => replicasIn(client, namespace))
  ])
  const installed = {
    // Who may not read Deployments sees their pods.
    components: [...(components ?? []), ...(replicas ?? []).map(({ component }) => component)],
    settings,
    clients:
      settings?.clientCertificates === true ||
      replicas?.some(({ status }) => status?.clientCertificates?.enabled) === true
  }
  const [registration, warnings, namespaces, rayPods, policies, rights] = await Promise.all([
    attempt('registration', () => client.get<WebhookConfiguration>(registrationPath)),
    attempt('warnings', () => client.get<WebhookConfiguration>(warningsPath)),
    attempt('namespaces', () => listAll<Namespace>(client, '/api/v1/namespaces')),
    attempt('rayPods', () => listAll<Pod>(client, pods, clusterLabel)),
    attempt('policies', () => policiesIn(client)),
    attempt('rights', () => rightsOf(client, namespace, installed))
  ])
  return {
    now: options.clock(),
    clockAheadMs: options.clockAheadMs(),
    ...{ namespace, version, registration, warnings, namespaces, rayPods, replicas },
    ...{ components, settings, policies, rights, faults }
  }
}

function versionOf(text: string): Observed['version'] {
  try {
    const { major, minor, gitVersion } = JSON.parse(text) as Record<string, unknown>
    if (typeof major !== 'string' || typeof minor !== 'string') return undefined
    return { major, minor, gitVersion: String(gitVersion) }
  } catch {
    return undefined
  }
}

async function componentsIn(client: Client, namespace: string): Promise<string[]> {
  const at = path`/apis/apps/v1/namespaces/${namespace}/deployments`
  const deployments = await listAll<KubernetesObject>(client, at, ours)
  return deployments.map(({ metadata }) => metadata.labels?.[componentLabel] ?? '')
}

export async function replicasIn(client: Client, namespace: string): Promise<Replica[]> {
  const pods = await listAll<Pod>(client, path`/api/v1/namespaces/${namespace}/pods`, ours)
  const live = pods.filter(({ metadata }) => !metadata.deletionTimestamp)
  return Promise.all(
    live.map(async pod => {
      const { name = '', labels } = pod.metadata
      const component = labels?.[componentLabel] ?? ''
      const { status, fault } = await statusOf(client, namespace, name)
      return { name, component, pod, status, ...(fault === undefined ? {} : { fault }) }
    })
  )
}

/** Through the API server, because a pod's address is not reachable from where people work. */
async function statusOf(
  client: Client,
  namespace: string,
  name: string
): Promise<{ status: ReplicaStatus | undefined; fault?: string }> {
  try {
    const at = path`/api/v1/namespaces/${namespace}/pods/${`${name}:8080`}/proxy/status`
    const { status, text } = await client.look(at)
    if (status !== 200) return { status: undefined, fault: `the API server answered ${status}` }
    const told = JSON.parse(text) as ReplicaStatus
    const whole = typeof told.version === 'string' && typeof told.checks === 'object'
    return whole ? { status: told } : { status: undefined, fault: 'it answered something else' }
  } catch (error) {
    return { status: undefined, fault: error instanceof KubernetesError ? error.code : 'no JSON' }
  }
}

async function policiesIn(client: Client): Promise<{ kind: string; name: string }[]> {
  const lists = await Promise.all(
    Object.entries(policyResources).map(async ([kind, resource]) => {
      const at = `/apis/admissionregistration.k8s.io/v1/${resource}`
      const objects = await listAll<KubernetesObject>(client, at, ours)
      return objects.map(({ metadata }) => ({ kind, name: metadata.name ?? '' }))
    })
  )
  return lists.flat()
}
