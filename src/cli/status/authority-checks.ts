/** The report on the CAs as lines for people: what stands, which pods hold a step up, what to do. Pure. */
import { signerOf, trusts } from '../../live/anchors.ts'
import {
  type AnchorReport,
  type AuthorityReport,
  type ClusterAnchors,
  hasCertificate,
  type PodAnchors
} from './authority.ts'
import { type Check, count, createChecks, daysUntil } from './check.ts'
import { ends } from './replicas.ts'

const page = 'docs/ca-rotation.md'
const mostNames = 5

export function authorityChecks(report: AuthorityReport, now: number): Check[] {
  return [
    ...report.anchors.map(anchor => anchorCheck(anchor, now)),
    ...replicaChecks(report),
    ...trustCheck(report),
    ...dueChecks(report),
    ...report.clusters.flatMap(cluster => clusterChecks(cluster, report)),
    ...stepCheck(report)
  ]
}

const roles = {
  signing: 'signs Ray pods',
  next: 'is the next CA, and trusted already',
  former: 'is a former CA, and still trusted'
}

function anchorCheck({ role, signed, trusted, ...anchor }: AnchorReport, now: number): Check {
  const { list, ok, warn, fail } = createChecks('Certificates')
  const days = daysUntil(anchor.notAfter, now)
  const text =
    `${named(anchor)} ${roles[role]}, until ${anchor.notAfter.slice(0, 10)}: ${count(signed, 'pod')} hold its certificates, ` +
    `${count(trusted, 'pod')} trust it.`
  const advice = `No certificate outlives it. Replace it: ${page}.`
  if (role !== 'signing' || days >= ends.authority.warning) ok('Authority', text)
  else if (days >= ends.authority.failed) warn('Authority', text, advice)
  else fail('Authority', text, advice)
  return list[0] as Check
}

function replicaChecks({ differing, problems }: AuthorityReport): Check[] {
  const { list, warn } = createChecks('Certificates')
  for (const { name, problem } of problems) {
    warn(
      'AuthorityProblem',
      `${name} gets nothing signed: ${problem}.`,
      'A step that needs the CA has to wait for it; rayguard status says more.'
    )
  }
  if (differing) {
    warn(
      'ReplicasDiffer',
      'The replicas of the enrollment server answer with different certificates.',
      'A changed Secret reaches all of them within two minutes; if it does not, their logs say why.'
    )
  }
  return list
}

function trustCheck({ trust }: AuthorityReport): Check[] {
  const { list, ok, warn } = createChecks('Certificates')
  if (trust === undefined) return []
  const { setting, waiting } = trust
  const text =
    setting === 'perCluster'
      ? 'trust: perCluster. New RayClusters get a CA of their own.'
      : 'trust: shared. All RayClusters trust the CA.'
  if (waiting === 0) ok('Trust', text)
  else {
    warn(
      'TrustWaiting',
      `${text} ${count(waiting, 'RayCluster')} still to change.`,
      'Each changes when all of its pods have been deleted at once: docs/trust.md.'
    )
  }
  return list
}

function dueChecks({ trust, due }: AuthorityReport): Check[] {
  const { list, ok, warn } = createChecks('Certificates')
  if (trust === undefined) return []
  if (due === undefined) {
    warn(
      'ClusterCasUnknown',
      'Not every replica has looked at all CAs of RayClusters, with the authority at hand.',
      'Each does so when it starts and every five minutes; the log of rayguard-enrollment says what keeps it from that.'
    )
    return list
  }
  const log = 'The log of rayguard-enrollment says why'
  const { unsealed, formerSeal, renewal } = due
  if (unsealed > 0) {
    warn('ClusterCasUnsealed', `CAs of RayClusters that are not sealed: ${unsealed}.`, `${log}.`)
  }
  if (formerSeal > 0) {
    warn(
      'ClusterCasFormerSeal',
      `CAs of RayClusters that are sealed by a former key, or by another authority: ${formerSeal}.`,
      `Keep that key until there are none. ${log}.`
    )
  }
  if (renewal > 0) {
    warn(
      'ClusterCasNotRenewed',
      `CAs of RayClusters that are due for renewal and not renewed: ${renewal}.`,
      `${log}: docs/trust.md.`
    )
  }
  if (list.length === 0) {
    ok('ClusterCas', 'Every CA of a RayCluster is as it should be, none sealed by a former key.')
  }
  return list
}

function clusterChecks(cluster: ClusterAnchors, { anchors, trust }: AuthorityReport): Check[] {
  const { list, ok, warn, fail } = createChecks('Ray clusters')
  const { namespace, pods } = cluster
  const name = `${namespace}/${cluster.name}`
  const told = (found: readonly { name: string }[]) =>
    `${name}: ${found.length} of ${count(pods.length, 'pod')}`
  const anew = (found: readonly { name: string }[]) =>
    `kubectl -n ${namespace} delete pod ${names(found)}`
  const held = pods.filter(hasCertificate)
  const own = cluster.trust === 'perCluster'
  const unknown = own ? [] : held.filter(pod => signerOf(pod, anchors) === undefined)
  const advice = `Delete all its pods at once: kubectl -n ${namespace} delete pods -l ray.io/cluster=${cluster.name}`
  if (cluster.strangers.length > 0) {
    const foreign = cluster.strangers.map(each => ({ name: each }))
    fail(
      'ClusterTrust',
      `${told(foreign)} are not trusted by the others: ${names(foreign)}.`,
      advice
    )
  } else if (unknown.length > 0) {
    fail(
      'UnknownAuthority',
      `${told(unknown)} have a certificate of a CA that new pods do not trust (${short(unknown[0])}).`,
      `${advice}. Or let pods trust that CA again: ${page}.`
    )
  }
  for (const anchor of own ? [] : anchors) {
    const lacking = held.filter(pod => !trusts(pod, anchor))
    const signed = held.filter(pod => signerOf(pod, anchors) === anchor)
    if (anchor.role === 'next' && lacking.length > 0) {
      warn('NotTrusting', `${told(lacking)} do not trust ${named(anchor)} yet.`, anew(lacking))
    } else if (anchor.role === 'former' && signed.length > 0) {
      warn('HoldsFormer', `${told(signed)} hold a certificate of ${named(anchor)}.`, anew(signed))
    }
  }
  const waiting = pods.filter(pod => !hasCertificate(pod))
  if (waiting.length > 0) {
    warn('PodsWaiting', `${told(waiting)} have not said yet that they have a certificate.`)
  }
  const under = own ? ' under a CA of its own' : ''
  const waits =
    trust !== undefined && cluster.trust !== 'unknown' && cluster.trust !== trust.setting
  if (waits) {
    warn(
      'ClusterTrustWaiting',
      `${name}: ${count(pods.length, 'pod')}${under} are to change to trust: ${trust.setting}.`,
      advice
    )
  } else if (list.length === 0) {
    ok('Cluster', `${name}: ${count(pods.length, 'pod')}${under}, nothing to do.`)
  }
  return list
}

function stepCheck({ next, anchors }: AuthorityReport): Check[] {
  const { list, ok, warn } = createChecks('Next step')
  if (next === undefined) return []
  const of = (role: AnchorReport['role']) =>
    anchors.flatMap(anchor => (anchor.role === role ? named(anchor) : [])).join(', ')
  const anew =
    'Make the pods above anew, in any order and at any time, or wait until they are replaced.'
  if (next.step === 'none') ok('Step', 'No CA is being replaced.')
  else if (next.step === 'switch' && next.ready)
    ok('Step', `Every pod trusts ${of('next')}: let it sign (step 2 of ${page}).`)
  else if (next.step === 'switch') warn('Step', `${of('next')} must not sign yet.`, anew)
  else if (next.ready)
    ok(
      'Step',
      `No pod holds a certificate of ${of('former')}, and every pod trusts it: drop it (step 3 of ${page}), or let it sign if it is the next one (step 2).`
    )
  else warn('Step', `${of('former')} must not be dropped yet.`, anew)
  return list
}

function named({ subject, anchorSha256 }: Pick<AnchorReport, 'subject' | 'anchorSha256'>): string {
  return `${subject} (${anchorSha256.slice(0, 12)})`
}

function short(pod: PodAnchors | undefined): string {
  return pod?.anchorSha256?.slice(0, 12) ?? ''
}

function names(found: readonly { name: string }[]): string {
  const shown = found.slice(0, mostNames).map(({ name }) => name)
  return found.length <= mostNames ? shown.join(' ') : `${shown.join(' ')} … (-o json has all)`
}
