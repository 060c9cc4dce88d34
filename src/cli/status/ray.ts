/**
 * The namespaces and what each Ray pod has: a certificate, or none and why. Pure.
 */
import { type Modes, resolveModes } from '../../admission/modes.ts'
import type { TerminationMessage } from '../../contract/enrollment.ts'
import { certificateLifetimeLabel } from '../../contract/pod.ts'
import type { Namespace, Pod } from '../../kubernetes/objects.ts'
import { type NearDays, nearness } from '../../live/ends.ts'
import { type LivePod, livePod } from '../../live/pod.ts'
import { durationSeconds } from '../../settings/duration.ts'
import { isCovered, isPaused } from '../covered.ts'
import { type Check, count, createChecks } from './check.ts'
import { clusterChecks } from './clusters.ts'
import type { Observed } from './observe.ts'

export interface NamespaceReport {
  name: string
  covered: boolean
  paused: boolean
  /** Absent where a label has an unknown value. */
  modes?: Modes
  /** The value of the label, where it is no duration. */
  badLifetime?: string
}

export interface ClusterReport {
  namespace: string
  name: string
  uid: string
  pods: PodReport[]
}

export interface PodReport {
  name: string
  node: 'head' | 'worker'
  state: 'certificate' | 'waiting' | 'refused' | 'otherTls' | 'none'
  /** For `none`, `waiting` and `refused`: why. */
  reason?: Reason | string
  certificate?: TerminationMessage
  /** Of the certificate: within how many days it ends; 0: it has ended. */
  endsWithinDays?: NearDays
}

export type Reason =
  | 'NamespaceNotCovered'
  | 'NamespacePaused'
  | 'NamespaceDisabled'
  | 'OlderThanRayguard'
  | 'LiveClusterLeftAlone'

export interface RayReport {
  namespaces: NamespaceReport[]
  clusters: ClusterReport[]
  checks: Check[]
}

export function rayReport(observed: Observed): RayReport {
  const namespaces = (observed.namespaces ?? []).map(each => namespaceReport(each, observed))
  const clusters = clustersIn(observed, new Map(namespaces.map(each => [each.name, each])))
  const checks = [
    ...namespaceChecks(observed, namespaces),
    ...clusterChecks(observed, namespaces, clusters)
  ]
  return { namespaces, clusters, checks }
}

function namespaceReport(namespace: Namespace, { registration }: Observed): NamespaceReport {
  const { name = '', labels } = namespace.metadata
  const resolved = resolveModes({ namespaceLabels: labels ?? {} })
  const lifetime = labels?.[certificateLifetimeLabel]
  const isBad = lifetime !== undefined && durationSeconds(lifetime) === undefined
  return {
    name,
    covered: registration !== undefined && isCovered(namespace, registration),
    paused: isPaused(namespace),
    ...('modes' in resolved ? { modes: resolved.modes } : {}),
    ...(isBad ? { badLifetime: lifetime } : {})
  }
}

function namespaceChecks({ faults }: Observed, namespaces: readonly NamespaceReport[]): Check[] {
  const { list, ok, warn, fail } = createChecks('Namespaces')
  const fault = faults.find(({ what }) => what === 'namespaces')
  if (fault) {
    warn('Namespaces', `The namespaces could not be read (${fault.code}).`)
    return list
  }
  const covered = namespaces.filter(each => each.covered)
  for (const { name } of covered.filter(({ modes }) => modes === undefined)) {
    const advice = `kubectl get namespace ${name} --show-labels; docs/install.md has the known values.`
    fail(
      'NamespaceLabel',
      `${name} has an unknown value in a label of rayguard.dev: its Ray pods are refused.`,
      advice
    )
  }
  for (const { name, badLifetime } of covered.filter(each => each.badLifetime !== undefined)) {
    fail(
      'NamespaceLifetime',
      `${name} has ${certificateLifetimeLabel}=${badLifetime}, which is no duration: its new Ray pods wait.`,
      `kubectl label --overwrite namespace ${name} ${certificateLifetimeLabel}=30d`
    )
  }
  for (const { name } of covered.filter(({ paused }) => paused)) {
    warn(
      'NamespacePaused',
      `${name} is paused: its new Ray pods get nothing.`,
      `rayguard resume ${name}`
    )
  }
  const active = covered.filter(({ paused, modes }) => !paused && modes !== undefined)
  const of = (tls: Modes['tls']) => active.filter(({ modes }) => modes?.tls === tls)
  const named = (found: NamespaceReport[]) =>
    found.length > 0 && found.length <= 5 ? ` (${found.map(({ name }) => name).join(', ')})` : ''
  const [required, off] = [of('required'), of('no-tls')]
  ok(
    'Namespaces',
    `${count(active.length, 'namespace')} covered; TLS required in ${required.length}${named(required)}, turned off in ` +
      `${off.length}${named(off)}.`
  )
  return list
}

function clustersIn(
  { rayPods, registration, now }: Observed,
  namespaces: ReadonlyMap<string, NamespaceReport>
): ClusterReport[] {
  const since = Date.parse(registration?.metadata.creationTimestamp ?? '')
  const clusters = new Map<string, ClusterReport>()
  for (const pod of rayPods ?? []) {
    const found = livePod(pod)
    if (!found?.live) continue
    const { namespace, cluster } = found
    const key = `${namespace}/${cluster.uid}`
    const report = clusters.get(key) ?? {
      namespace,
      name: cluster.name,
      uid: cluster.uid,
      pods: []
    }
    clusters.set(key, report)
    report.pods.push(podReport(pod, found, namespaces.get(namespace), { since, now }))
  }
  return [...clusters.values()].sort((a, b) =>
    `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`)
  )
}

function podReport(
  pod: Pod,
  found: LivePod,
  namespace: NamespaceReport | undefined,
  { since, now }: { since: number; now: number }
): PodReport {
  const { name, node, tls, agent, createdAt } = found
  if (tls === 'other') return { name, node, state: 'otherTls' }
  if (tls === 'none')
    return { name, node, state: 'none', reason: whyNone(createdAt, namespace, since) }
  if (agent?.ended === 'well') {
    const { ended: _, ...certificate } = agent
    const endsWithinDays = nearness(found, now)
    return {
      ...{ name, node, state: 'certificate', certificate },
      ...(endsWithinDays === undefined ? {} : { endsWithinDays })
    }
  }
  if (agent?.ended === 'badly') return { name, node, state: 'refused', reason: agent.code }
  return { name, node, state: 'waiting', reason: whyWaiting(pod) }
}

function whyNone(createdAt: number, namespace: NamespaceReport | undefined, since: number): Reason {
  if (namespace?.paused) return 'NamespacePaused'
  if (namespace?.modes?.tls === 'no-tls') return 'NamespaceDisabled'
  if (namespace && !namespace.covered) return 'NamespaceNotCovered'
  // A second is what creationTimestamp can tell.
  return createdAt <= since + 1000 ? 'OlderThanRayguard' : 'LiveClusterLeftAlone'
}

function whyWaiting({ status, spec }: Pod): string {
  if (!spec.nodeName) return 'NotScheduled'
  const enroll = status?.initContainerStatuses?.find(({ name }) => name === 'rayguard-enroll')
  const { waiting, running, terminated } = enroll?.state ?? {}
  if (terminated?.exitCode === 0) return 'WithoutWords'
  return running ? 'Enrolling' : (waiting?.reason ?? 'NotStarted')
}
