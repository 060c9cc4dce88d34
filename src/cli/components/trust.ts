/**
 * Which CA signs the pods of a RayCluster, put together: the authority of the settings, the CAs of single RayClusters, the
 * watch that tells when a change of the setting may reach one.
 */
import type { AlsoTrusted } from '../../authority/also-trusted.ts'
import { type Authority, AuthorityError } from '../../authority/authority.ts'
import { perClusterProblem } from '../../authority/per-cluster/own-ca.ts'
import {
  createPerClusterAuthority,
  type OwnCaChange,
  type PerClusterAuthority
} from '../../authority/per-cluster/per-cluster.ts'
import { type CurrentRecord, createRecord, type Past } from '../../authority/per-cluster/record.ts'
import { unjudged } from '../../authority/per-cluster/refusals.ts'
import { type ClusterSecrets, createClusterSecrets } from '../../authority/per-cluster/secrets.ts'
import { createUpkeep, type Upkeep } from '../../authority/per-cluster/upkeep.ts'
import type { TrustStatus } from '../../contract/status.ts'
import { type Calls, createCalls } from '../../kubernetes/calls.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import type { Pod } from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'
import type { LiveClusters } from '../../live/clusters.ts'
import { ConfigurationError, type Surroundings } from './component.ts'
import { anyForeign, clusterPods, sharedAnchors } from './held-certificates.ts'

export interface Trust {
  /** Signs for each pod with the CA that its RayCluster is on. */
  authority: Authority
  about(): TrustStatus
  start(): void
  stop(): Promise<void>
}

interface TrustParts {
  authority: Authority
  alsoTrusted: AlsoTrusted | undefined
  clusters: LiveClusters
}

const upkeepEveryMs = 5 * 60_000
const secondLookMs = 5_000
const ownRights =
  'get, create and update the Secrets rayguard-clusters and rayguard-clusters-0 to -f'

/** Throws {@link ConfigurationError} where the CA cannot do what the settings ask for. */
export function createTrust(
  { authority, alsoTrusted, clusters }: TrustParts,
  surroundings: Surroundings
): Trust {
  const { settings, client, namespace, clocks, random, log, readiness } = surroundings
  const { trust, enrollment } = settings
  if (trust === 'perCluster') refuseUnableAuthority(authority)
  const secrets = createClusterSecrets(client, namespace)
  const isShared = sharedAnchors(authority)
  const foreign = () => anyForeign(clusters.pods(), isShared)
  const record = createRecord({
    ...{ secrets, setting: trust, clock: clocks.api },
    past: () => past(clusters, foreign, surroundings),
    onChange({ trust, since }) {
      const words = { trust, since: new Date(since).toISOString() }
      log.info(words, 'which setting of trust holds for all replicas')
    }
  })
  const perCluster = createPerClusterAuthority({
    ...{ authority, secrets, record: record.current, onChange: observer(surroundings) },
    alsoTrusted: () => alsoTrusted?.pem() ?? '',
    clock: clocks.wall,
    apiClock: clocks.api,
    random: random.bytes,
    podsOf: ({ namespace, uid }) =>
      clusters.synced() ? clusterPods(clusters.podsOf({ namespace, uid }), isShared) : undefined,
    leafSeconds: Math.max(enrollment.lifetimeSeconds, enrollment.namespaceLifetime.longestSeconds),
    perNamespace: enrollment.quota.clustersPerNamespace
  })
  const upkeep = upkeepOf(
    { authority: perCluster, secrets, record, clusters, foreign },
    surroundings
  )
  gauges(perCluster, authority, surroundings)
  surroundings.metrics.gauges(
    'rayguard_cluster_cas_due',
    'CAs of RayClusters that the last round left unsealed, sealed by a former key, or not renewed; nothing before a whole round.',
    'what',
    () => ({ ...upkeep.due() })
  )
  let retry: NodeJS.Timeout | undefined
  let stopped = false
  let problem: string | undefined = 'the running Ray clusters are not known (yet)'
  readiness.add('trust', () => problem)

  return {
    authority: perCluster,
    about() {
      const due = upkeep.due()
      return { setting: trust, waiting: waiting(perCluster, trust), ...(due && { due }) }
    },
    start: () => void begin(),
    async stop() {
      stopped = true
      clearTimeout(retry)
      await upkeep.stop()
    }
  }

  async function begin(): Promise<void> {
    await clusters.whenSynced
    if (stopped) return
    try {
      await record.current()
      problem = undefined
    } catch (error) {
      // Also with `shared`: without a look there nobody knows which RayClusters have CAs of their own. During an upgrade
      // the replicas of before serve on as long as the new ones are not ready.
      problem = problemOf(error)
      log.warn({ err: error, problem }, 'which setting of trust holds cannot be seen; again soon')
      retry = setTimeout(() => void begin(), secondLookMs)
      retry.unref()
      return
    }
    if (!stopped) upkeep.start()
  }
}

function problemOf(error: unknown): string {
  if (error instanceof AuthorityError) return error.message
  return error instanceof KubernetesError && error.code === 'Forbidden'
    ? `missing rights: ${ownRights}`
    : 'the Secrets with the CAs of Ray clusters cannot be read'
}

function refuseUnableAuthority(authority: Authority): void {
  // What cannot be asked yet is asked with the first RayCluster.
  if (authority.intermediates === undefined && authority.problem?.() !== undefined) return
  const problem = perClusterProblem(authority)
  if (problem === undefined) return
  throw new ConfigurationError(
    `trust: perCluster needs a CA that signs one for each Ray cluster, and this one does not: ${problem}. ` +
      'Use another CA, or set trust: shared; docs/trust.md says what that means.'
  )
}

/** A version that knew `shared` alone leaves no record. Its replicas may sign as long as they are there. */
async function past(
  clusters: LiveClusters,
  foreign: () => boolean | undefined,
  { client, namespace }: Surroundings
): Promise<Past> {
  const { items } = await client.list<Pod>(path`/api/v1/namespaces/${namespace}/pods`, {
    labelSelector: 'app.kubernetes.io/name=rayguard,app.kubernetes.io/component=enrollment'
  })
  const templates = new Set(items.map(({ metadata }) => metadata.labels?.['pod-template-hash']))
  // After the replicas, which may end meanwhile: for what they have signed there is a pod by now.
  if (!clusters.synced()) {
    throw new AuthorityError('Unavailable', 'The running Ray clusters are not known (yet).')
  }
  const podsRun = [...clusters.pods()].some(({ live, tls }) => live && tls === 'rayguard')
  const isAnyForeign = foreign()
  if (isAnyForeign === undefined) throw unjudged()
  return { signed: podsRun || templates.size > 1, foreign: isAnyForeign }
}

function upkeepOf(
  parts: {
    authority: PerClusterAuthority
    secrets: ClusterSecrets
    record: CurrentRecord
    clusters: LiveClusters
    foreign: () => boolean | undefined
  },
  surroundings: Surroundings
): Upkeep {
  const { authority, secrets, record, clusters, foreign } = parts
  const { client, clocks, log } = surroundings
  const calls = createCalls(client)
  return createUpkeep({
    ...{ authority, secrets, record: record.current, foreign, onChange: observer(surroundings) },
    exists: entry => isThere(calls, entry),
    runs: entry => [...clusters.podsOf(entry)].length > 0,
    clock: clocks.steady,
    apiClock: clocks.api,
    everyMs: upkeepEveryMs,
    onFault(error) {
      log.warn({ err: error }, 'the CAs of Ray clusters cannot be looked after; again later')
    }
  })
}

/** By name and UID: another of the same name is another. Throws KubernetesError. */
export async function isThere(
  calls: Calls,
  { namespace, name, uid }: { namespace: string; name: string; uid: string }
): Promise<boolean> {
  const reference = { apiVersion: 'ray.io/v1', kind: 'RayCluster', name } as const
  return (await calls.rayObject(namespace, reference))?.metadata.uid === uid
}

function observer({ metrics, log }: Surroundings) {
  return (
    change: OwnCaChange,
    { namespace, name, uid }: Record<'namespace' | 'name' | 'uid', string>
  ) => {
    metrics.clusterCa(change)
    const rayCluster = { namespace, name, uid }
    log[change === 'restored' || change === 'refused' ? 'warn' : 'info'](
      { rayCluster, change },
      'the CA of a RayCluster'
    )
  }
}

function gauges(
  perCluster: PerClusterAuthority,
  authority: Authority,
  { settings, metrics }: Surroundings
): void {
  metrics.gauge('rayguard_cluster_cas', 'CAs of single RayClusters that are kept in Secrets.', () =>
    count(perCluster, 'perCluster')
  )
  metrics.gauge(
    'rayguard_clusters_on_former_trust',
    'RayClusters that a change of the setting trust has not reached, because their pods hold certificates of before.',
    () => waiting(perCluster, settings.trust)
  )
  metrics.gauge(
    'rayguard_cluster_ca_problem',
    '1 where the setting trust is perCluster and the CA signs none for RayClusters; `rayguard check-config` says why.',
    () => (settings.trust === 'perCluster' && unable(authority) ? 1 : 0)
  )
}

/** RayClusters that a change of the setting has not reached. */
function waiting(perCluster: PerClusterAuthority, setting: 'perCluster' | 'shared'): number {
  return count(perCluster, setting === 'shared' ? 'perCluster' : 'shared')
}

function count({ held }: PerClusterAuthority, trust: 'perCluster' | 'shared'): number {
  return [...held.values()].filter(entry => entry.trust === trust).length
}

function unable(authority: Authority): boolean {
  return authority.problem?.() === undefined && perClusterProblem(authority) !== undefined
}
