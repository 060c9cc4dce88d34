/** Whether people outside the pods can get certificates, and what keeps them from it. Pure. */
import { type Check, createChecks } from './check.ts'
import type { Observed } from './observe.ts'

const page = 'docs/client-certificates.md'

export function clientChecks({ replicas, namespace, settings, rights }: Observed): Check[] {
  const { list, ok, warn, fail } = createChecks('Certificates')
  const id = 'ClientCertificates'
  const told = (replicas ?? []).flatMap(({ name, status }) =>
    status?.clientCertificates === undefined ? [] : [{ name, ...status.clientCertificates }]
  )
  const on = told.filter(({ enabled }) => enabled)
  const off = told.filter(({ enabled }) => !enabled)
  const wanted = settings?.clientCertificates ?? (told.length > 0 ? on.length > 0 : undefined)
  if (wanted === undefined) return list
  if (!wanted && on.length === 0) {
    ok(id, `Client certificates are off (${page}).`)
    return list
  }
  const stale = wanted ? off : on
  if (stale.length > 0) {
    const [is, runs] = wanted ? ['on', 'without'] : ['off', 'with']
    warn(
      id,
      `Client certificates are ${is}, but ${names(stale)} still runs ${runs} them.`,
      `kubectl -n ${namespace} rollout restart deployment rayguard-enrollment`
    )
  }
  if (!wanted) return list
  const missing = (rights ?? []).filter(({ use, allowed }) => use === 'clients' && !allowed)
  if (missing.length > 0) {
    const lacking = missing.map(({ right }) => right).join(', ')
    fail(
      id,
      `Client certificates are on, but rayguard-enrollment lacks: ${lacking}.`,
      `The chart makes these rights with clientCertificates.enabled=true: ${page}.`
    )
  }
  for (const { name, problem } of on) {
    const log = `kubectl -n ${namespace} logs ${name}`
    if (problem !== undefined) fail(id, `${name}: client certificates: ${problem}.`, log)
  }
  if (list.length === 0) {
    const also = rights === undefined ? '' : ', and rayguard-enrollment has the rights for them'
    ok(id, `Client certificates are on${also}.`)
  }
  return list
}

function names(found: readonly { name: string }[]): string {
  return found.map(({ name }) => name).join(', ')
}
