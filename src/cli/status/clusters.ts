/** One line for each Ray cluster, and a line for each of its pods that something is wrong with. Pure. */
import type { AnchorStatus } from '../../contract/status.ts'
import { completed, strangers } from '../../live/anchors.ts'
import { knownAnchors, ownAnchors } from './authority.ts'
import { type Check, count, createChecks, timeUntil } from './check.ts'
import type { Observed } from './observe.ts'
import type { ClusterReport, NamespaceReport, PodReport, Reason } from './ray.ts'

const mostPods = 5

const reasons: Record<Reason, string> = {
  NamespaceNotCovered: 'its namespace is not covered',
  NamespacePaused: 'its namespace is paused',
  NamespaceDisabled: 'its namespace has TLS turned off',
  OlderThanRayguard: 'its pods are older than Rayguard',
  LiveClusterLeftAlone:
    'it ran without TLS when they were made, or its namespace was paused or had TLS turned off'
}

export function clusterChecks(
  { faults, now, replicas }: Observed,
  namespaces: readonly NamespaceReport[],
  clusters: readonly ClusterReport[]
): Check[] {
  const fault = faults.find(({ what }) => what === 'rayPods')
  const { list, ok, warn } = createChecks('Ray clusters')
  if (fault) warn('RayPods', `The Ray pods could not be read (${fault.code}).`)
  else if (clusters.length === 0) ok('RayPods', 'There are no Ray clusters.')
  const among = { isOwn: ownAnchors(replicas ?? []), known: knownAnchors(replicas ?? []) }
  const byName = new Map(namespaces.map(each => [each.name, each]))
  return [
    ...list,
    ...clusters.flatMap(cluster =>
      clusterCheck(cluster, byName.get(cluster.namespace), { now, ...among })
    )
  ]
}

function clusterCheck(
  cluster: ClusterReport,
  namespace: NamespaceReport | undefined,
  {
    now,
    isOwn,
    known
  }: { now: number; isOwn: ReturnType<typeof ownAnchors>; known: AnchorStatus[] }
): Check[] {
  const { list, ok, warn, fail } = createChecks('Ray clusters')
  const name = `${cluster.namespace}/${cluster.name}`
  const { pods } = cluster
  const withTls = pods.filter(({ state }) => state !== 'none' && state !== 'otherTls')
  const without = pods.filter(({ state }) => state === 'none')
  const anew = `Delete all its pods at once: kubectl -n ${cluster.namespace} delete pods -l ray.io/cluster=${cluster.name}`
  const chosen = without.every(
    ({ reason }) =>
      reason === 'NamespaceDisabled' ||
      reason === 'NamespacePaused' ||
      reason === 'NamespaceNotCovered'
  )
  if (withTls.length > 0 && without.length > 0) {
    const text = `${name} is split: ${withTls.length} pods with TLS, ${without.length} without cannot reach each other.`
    fail('ClusterSplit', text, anew)
  } else if (without.length > 0) {
    const why = [...new Set(without.map(({ reason }) => reasons[reason as Reason]))].join('; ')
    const text = `${name}: ${count(without.length, 'pod')} without TLS (${why}).`
    const required = namespace?.modes?.tls === 'required' && !namespace.paused
    if (required)
      fail(
        'ClusterWithoutTls',
        `${text} Its namespace requires TLS, so its new pods are refused.`,
        anew
      )
    else if (chosen) ok('ClusterWithoutTls', text)
    else
      warn(
        'ClusterWithoutTls',
        `${text} Its new pods get none either.`,
        `${anew}. Do so before the namespace requires TLS.`
      )
  }
  list.push(...podChecks(cluster, now))
  const held = withTls.flatMap(({ certificate }) =>
    certificate === undefined ? [] : completed(certificate, known)
  )
  const foreign = strangers(held, isOwn)
  if (foreign.length > 0) {
    const text = `${name}: ${count(foreign.length, 'pod')} are of a CA that the others do not trust.`
    fail('ClusterAnchors', text, anew)
  }
  if (list.some(({ state }) => state !== 'ok') || withTls.length === 0) {
    if (list.length === 0)
      ok('Cluster', `${name}: ${count(pods.length, 'pod')} with TLS by other means.`)
    return list
  }
  const ends = withTls.flatMap(({ certificate }) => certificate?.notAfter ?? []).sort()
  const having = withTls.filter(({ state }) => state === 'certificate').length
  const first = ends[0] === undefined ? '' : `; the first ends ${ends[0].slice(0, 10)}`
  ok('Cluster', `${name}: ${having} of ${count(pods.length, 'pod')} with a certificate${first}.`)
  return list
}

function podChecks({ namespace, name, pods }: ClusterReport, now: number): Check[] {
  const { list, warn, fail } = createChecks('Ray clusters')
  const told = (pod: PodReport) => `${namespace}/${name}: ${pod.name}`
  for (const pod of pods) {
    if (pod.state === 'refused') {
      const advice = `kubectl -n ${namespace} logs ${pod.name} -c rayguard-enroll; docs/troubleshooting.md has the codes.`
      fail('PodRefused', `${told(pod)} got no certificate: ${pod.reason}.`, advice)
    } else if (pod.state === 'waiting' && isStuck(pod.reason ?? '')) {
      const advice = `kubectl -n ${namespace} describe pod ${pod.name}`
      fail('PodWaiting', `${told(pod)} cannot enroll: ${pod.reason}.`, advice)
    } else if (pod.state === 'waiting') {
      warn('PodWaiting', `${told(pod)} has no certificate yet: ${pod.reason}.`)
    }
    if (pod.certificate === undefined || pod.endsWithinDays === undefined) continue
    const advice = 'Ray never reads a certificate anew: delete the pod, KubeRay makes another.'
    if (pod.endsWithinDays === 0) {
      fail('PodCertificateEnd', `${told(pod)}: its certificate has ended.`, advice)
    } else {
      const left = timeUntil(pod.certificate.notAfter, now)
      warn('PodCertificateEnd', `${told(pod)}: its certificate ends in ${left}.`, advice)
    }
  }
  const more = list.length - mostPods
  if (more <= 0) return list
  const rest = createChecks('Ray clusters')
  rest.warn('PodsMore', `${namespace}/${name}: ${more} more pods; -o json has all.`)
  // A failure must never be cut away in favour of a warning.
  const worst = list.sort((a, b) => Number(b.state === 'failed') - Number(a.state === 'failed'))
  return [...worst.slice(0, mostPods), ...rest.list]
}

/** What the kubelet does not get over by itself. */
function isStuck(reason: string): boolean {
  return /^(ErrImage|ImagePull|InvalidImage|CreateContainer|CrashLoop)/.test(reason)
}
