/** The replicas of each component, and when what they sign and show ends. Pure. */
import type { Pod } from '../../kubernetes/objects.ts'
import { type Check, count, createChecks, daysUntil } from './check.ts'
import type { Observed, Replica } from './observe.ts'

/** No Ray pod is created without these. */
const needed = ['webhook', 'enrollment']
/** What goes undone while none of a component is ready that need not be installed. */
const optional: Record<string, string> = {
  replacement: 'no pod is replaced before its certificate ends',
  preview: 'nobody can ask what would happen'
}

export function replicaChecks(observed: Observed): Check[] {
  const { replicas, namespace, faults } = observed
  const { list, ok, warn, fail } = createChecks('Replicas')
  if (replicas === undefined) {
    const fault = faults.find(({ what }) => what === 'replicas')
    warn('Replicas', `The pods of ${namespace} could not be read (${fault?.code ?? 'unknown'}).`)
    return list
  }
  for (const component of [...needed, ...optionalOf(observed)]) {
    const mine = replicas.filter(replica => replica.component === component)
    const advice = `kubectl -n ${namespace} describe deployment rayguard-${component}`
    const undone = optional[component] === undefined ? '' : `: ${optional[component]}`
    if (mine.length === 0)
      fail('Replicas', `No replica of rayguard-${component} runs${undone}.`, advice)
    else if (!mine.some(isReady))
      fail('Replicas', `No replica of rayguard-${component} is ready${undone}.`, advice)
    else if (mine.length === 1 && needed.includes(component)) {
      const text = `rayguard-${component} has one replica: while it is away, no Ray pod is created.`
      warn('Replicas', text, 'Run two (webhook.replicas, enrollment.replicas of the chart).')
    } else
      ok(
        'Replicas',
        `${count(mine.filter(isReady).length, 'replica')} of rayguard-${component} ready.`
      )
    for (const replica of mine) list.push(...replicaCheck(replica, namespace))
  }
  const versions = new Set(replicas.flatMap(({ status }) => (status ? [status.version] : [])))
  if (versions.size > 1) {
    const text = `The replicas are of different versions: ${[...versions].sort().join(', ')}.`
    warn('Versions', text, 'During an upgrade that passes; otherwise finish it.')
  }
  return list
}

/** Those of which a Deployment or a pod is there: who may not read the one sees the other. */
function optionalOf({ components = [], replicas = [] }: Observed): string[] {
  const installed = new Set([...components, ...replicas.map(({ component }) => component)])
  return Object.keys(optional).filter(component => installed.has(component))
}

function replicaCheck({ name, pod, status, fault }: Replica, namespace: string): Check[] {
  const { list, ok, warn, fail } = createChecks('Replicas')
  if (status === undefined) {
    const log = `kubectl -n ${namespace} logs ${name}`
    if (!isReady({ pod })) fail('Replica', `${name} is not ready: ${waitingReason(pod)}.`, log)
    else {
      const text = `${name} is ready, but did not answer through the API server (${fault}).`
      warn(
        'Replica',
        text,
        `A network policy may be in between. kubectl -n ${namespace} port-forward ${name} 8080`
      )
    }
    return list
  }
  const problems = Object.entries(status.checks).filter(([, problem]) => problem !== 'ok')
  if (problems.length === 0) ok('Replica', `${name} (${status.version}) passes its checks.`)
  for (const [check, problem] of problems) {
    const log = `kubectl -n ${namespace} logs ${name}`
    fail('Replica', `${name}: ${check}: ${problem}.`, `${advices[check] ?? ''}${log}`)
  }
  return list
}

/** Of checks that may fail in a replica that is ready. */
const advices: Record<string, string> = {
  authority:
    'Meanwhile pods that need it are told to come again (AuthorityUnavailable). Its page in docs/authorities/ says what to look at. '
}

export function isReady({ pod }: { pod: Pod }): boolean {
  return (
    pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ===
    true
  )
}

function waitingReason({ status }: Pod): string {
  const [state] = (status?.containerStatuses ?? []).flatMap(each =>
    each.state ? [each.state] : []
  )
  return state?.waiting?.reason ?? state?.terminated?.reason ?? status?.phase ?? 'unknown'
}

/** A certificate of ours is renewed long before; the CA of pods is renewed by people. */
export const ends = { authority: { warning: 100, failed: 14 } }
const ownEnds = { warning: 10, failed: 3 }

export function certificateChecks({ replicas, now }: Observed): Check[] {
  const { list, ok, warn, fail } = createChecks('Certificates')
  const found = new Map<string, string>()
  for (const { status } of replicas ?? []) {
    for (const [name, end] of Object.entries(status?.certificateExpiries ?? {})) {
      const before = found.get(name)
      if (before === undefined || Date.parse(end) < Date.parse(before)) found.set(name, end)
    }
  }
  for (const [name, end] of [...found].sort()) {
    const days = daysUntil(end, now)
    const what = name === 'authority' ? 'The CA that signs Ray pods' : `The certificate ${name}`
    const text = `${what} ends in ${count(days, 'day')} (${end.slice(0, 10)}).`
    const { warning, failed } = name === 'authority' ? ends.authority : ownEnds
    const advice =
      name === 'authority'
        ? 'No certificate outlives it. Replace it: docs/ca-rotation.md; rayguard ca status goes with it.'
        : 'It should have been renewed; the log of the component says why it was not.'
    if (days < failed) fail('CertificateEnd', text, advice)
    else if (days < warning) warn('CertificateEnd', text, advice)
    else ok('CertificateEnd', text)
  }
  return list
}
