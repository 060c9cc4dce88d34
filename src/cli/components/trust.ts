/**
 * Which CA signs the pods of a RayCluster, put together: the authority of the settings, the CAs of single RayClusters, the
 * watch that tells when a change of the setting may reach one.
 */
import { type Authority, AuthorityError } from '../../authority/authority.ts'
import { perClusterProblem } from '../../authority/per-cluster/own-ca.ts'
import {
  createPerClusterAuthority,
  type OwnCaChange,
  type PerClusterAuthority
} from '../../authority/per-cluster/per-cluster.ts'
import {
  enterPerCluster,
  enterShared,
  type TrustRecord
} from '../../authority/per-cluster/record.ts'
import { type ClusterSecrets, createClusterSecrets } from '../../authority/per-cluster/secrets.ts'
import type { ClusterPod } from '../../authority/per-cluster/standing.ts'
import { createUpkeep, type Upkeep } from '../../authority/per-cluster/upkeep.ts'
import type { TrustStatus } from '../../contract/status.ts'
import { type Calls, createCalls } from '../../kubernetes/calls.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import type { LiveClusters } from '../../live/clusters.ts'
import type { LivePod } from '../../live/pod.ts'
import { ConfigurationError, type Surroundings } from './component.ts'

export interface Trust {
  /** Signs for each pod with the CA that its RayCluster is on. */
  authority: Authority
  about(): TrustStatus
  start(): void
  stop(): Promise<void>
}

const upkeepEveryMs = 5 * 60_000
const secondLookMs = 5_000

/** Throws {@link ConfigurationError} where the CA cannot do what the settings ask for. */
export function createTrust(
  authority: Authority,
  clusters: LiveClusters,
  surroundings: Surroundings
): Trust {
  const { settings, client, namespace, clocks, random, log, readiness } = surroundings
  const { trust, enrollment } = settings
  if (trust === 'perCluster') refuseUnableAuthority(authority)
  const secrets = createClusterSecrets(client, namespace)
  const record = createRecord(secrets, clusters, surroundings)
  const onChange = observer(surroundings)
  const perCluster = createPerClusterAuthority({
    ...{ authority, secrets, trust, onChange },
    clock: clocks.wall,
    random: random.bytes,
    since: async () => (await record.current())?.since ?? 0,
    podsOf: ({ namespace, uid }) =>
      clusters.synced() ? [...clusters.podsOf({ namespace, uid })].flatMap(clusterPod) : undefined,
    leafSeconds: Math.max(enrollment.lifetimeSeconds, enrollment.namespaceLifetime.longestSeconds),
    perNamespace: enrollment.quota.clustersPerNamespace
  })
  const upkeep = upkeepOf(perCluster, secrets, clusters, surroundings)
  gauges(perCluster, authority, surroundings)
  let retry: NodeJS.Timeout | undefined
  let stopped = false
  let problem: string | undefined = 'the running Ray clusters are not known (yet)'
  if (trust === 'perCluster') readiness.add('trust', () => problem)

  return {
    authority: trust === 'perCluster' ? perCluster : onceKnown(authority, perCluster, record),
    about: () => ({ setting: trust, waiting: waiting(perCluster, trust) }),
    start: () => void begin(),
    async stop() {
      stopped = true
      clearTimeout(retry)
      await upkeep.stop()
    }
  }

  /** Where there is nothing but the shared CA, there is nothing to look after. */
  async function begin(): Promise<void> {
    try {
      const found = await record.current()
      problem = undefined
      if (found === undefined || stopped) return
      await clusters.whenSynced
      if (!stopped) upkeep.start()
    } catch (error) {
      problem = 'the Secrets with the CAs of Ray clusters cannot be read'
      log.warn(
        { err: error },
        'the Secrets with the CAs of Ray clusters cannot be read; again soon'
      )
      if (stopped) return
      retry = setTimeout(() => void begin(), secondLookMs)
      retry.unref()
    }
  }
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

interface CurrentRecord {
  /** `undefined`: there is nothing but the shared CA. Throws KubernetesError. */
  current(): Promise<TrustRecord | undefined>
}

function createRecord(
  secrets: ClusterSecrets,
  clusters: LiveClusters,
  { settings, clocks, log }: Surroundings
): CurrentRecord {
  let known: Promise<TrustRecord | undefined> | undefined
  return {
    current() {
      known ??= read().catch(error => {
        known = undefined
        throw error
      })
      return known
    }
  }

  async function read(): Promise<TrustRecord | undefined> {
    if (settings.trust === 'perCluster') {
      await clusters.whenSynced
      const podsRun = [...clusters.pods()].some(({ live, tls }) => live && tls === 'rayguard')
      return await enterPerCluster(secrets, { now: clocks.api(), podsRun })
    }
    try {
      return await enterShared(secrets, clocks.api())
    } catch (error) {
      if (!(error instanceof KubernetesError && error.code === 'Forbidden')) throw error
      log.warn({ err: error }, 'whether Ray clusters have CAs of their own cannot be seen')
      return undefined
    }
  }
}

/** With `shared`: the authority itself, but for what is left of CAs of single RayClusters. */
function onceKnown(
  authority: Authority,
  perCluster: PerClusterAuthority,
  record: CurrentRecord
): Authority {
  const present = async () => {
    try {
      return (await record.current()) === undefined ? authority : perCluster
    } catch (cause) {
      if (!(cause instanceof KubernetesError)) throw cause
      throw new AuthorityError('Unavailable', cause.message, { cause })
    }
  }
  return {
    ...perCluster,
    issue: async request => (await present()).issue(request),
    namesFor: async rayCluster =>
      (await (await present()).namesFor?.(rayCluster)) ?? authority.namesFrom
  }
}

function upkeepOf(
  authority: PerClusterAuthority,
  secrets: ClusterSecrets,
  clusters: LiveClusters,
  surroundings: Surroundings
): Upkeep {
  const { settings, client, clocks, log } = surroundings
  const calls = createCalls(client)
  return createUpkeep({
    ...{ authority, secrets, trust: settings.trust, onChange: observer(surroundings) },
    exists: entry => isThere(calls, entry),
    runs: entry => [...clusters.podsOf(entry)].length > 0,
    clock: clocks.steady,
    everyMs: upkeepEveryMs,
    onFault(error) {
      log.warn({ err: error }, 'the CAs of Ray clusters cannot be looked after; again later')
    }
  })
}

async function isThere(
  calls: Calls,
  { namespace, name, uid }: { namespace: string; name: string; uid: string }
): Promise<boolean> {
  const reference = { apiVersion: 'ray.io/v1', kind: 'RayCluster', name } as const
  return (await calls.rayObject(namespace, reference))?.metadata.uid === uid
}

/** Before its agent has said that it holds a certificate, or that it gave up, nobody knows. */
function clusterPod({ tls, createdAt, agent }: LivePod): ClusterPod[] {
  if (tls !== 'rayguard') return []
  const certificate = { well: 'held', badly: 'none' } as const
  return [{ createdAt, certificate: agent ? certificate[agent.ended] : 'unknown' }]
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
