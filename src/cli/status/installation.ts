/** What stands of the installation itself. Pure: from what was observed to checks. */
import { isLockDownPolicy } from '../registration/bindings.ts'
import { type Check, createChecks } from './check.ts'
import { clientChecks } from './clients.ts'
import type { Observed } from './observe.ts'
import { registrationChecks } from './registration.ts'
import { certificateChecks, replicaChecks } from './replicas.ts'

export function installationChecks(observed: Observed): Check[] {
  return [
    ...apiChecks(observed),
    ...registrationChecks(observed),
    ...replicaChecks(observed),
    ...certificateChecks(observed),
    ...clientChecks(observed),
    ...rightsChecks(observed),
    ...policyChecks(observed)
  ]
}

/** `matchConditions` and ValidatingAdmissionPolicy (KEP-3716, KEP-3488) are stable from here on. */
const oldestMinor = 30
/** Certificates are valid from five minutes before they are made. */
const skewMs = { warning: 30_000, failed: 300_000 }

function apiChecks({ version, clockAheadMs }: Observed): Check[] {
  const { list, ok, warn, fail } = createChecks('Kubernetes API')
  if (version === undefined) {
    const advice = 'kubectl version says whether your credentials are accepted.'
    fail('ApiVersion', 'The API server does not say its version.', advice)
  } else if (version.major === '1' && Number.parseInt(version.minor, 10) < oldestMinor) {
    const advice =
      'Upgrade the cluster: the registration uses matchConditions, and the policies need them.'
    fail(
      'ApiVersion',
      `Kubernetes ${version.gitVersion}; 1.${oldestMinor} or newer is needed.`,
      advice
    )
  } else {
    ok('ApiVersion', `Kubernetes ${version.gitVersion}`)
  }
  if (clockAheadMs === undefined) return list
  const away = Math.abs(clockAheadMs)
  const text = `The clocks here and of the API server are ${Math.round(away / 1000)} s apart.`
  const advice = 'Set the clock (NTP); certificates of a wrong time are not accepted.'
  if (away >= skewMs.failed) fail('Clock', text, advice)
  else if (away >= skewMs.warning) warn('Clock', text, advice)
  else ok('Clock', 'The clock here agrees with that of the API server.')
  return list
}

function rightsChecks({ rights, faults, namespace }: Observed): Check[] {
  const { list, ok, warn, fail } = createChecks('Rights')
  const unread = faults.filter(({ what }) => what === 'settings' || what === 'components')
  if (rights === undefined) {
    const fault = faults.find(({ what }) => what === 'rights')
    warn(
      'Rights',
      `The rights of the service accounts could not be asked for (${fault?.code ?? 'unknown'}).`,
      'Ask with an account that may create subjectaccessreviews.'
    )
    return list
  }
  const whole = rights.filter(({ use }) => use === undefined)
  for (const component of new Set(whole.map(right => right.component))) {
    const missing = whole.filter(right => right.component === component && !right.allowed)
    if (missing.length === 0 && unread.length > 0) continue
    if (missing.length === 0) {
      ok('Rights', `rayguard-${component} has the rights that it needs.`)
      continue
    }
    const names = missing.map(({ right }) => right).join(', ')
    fail(
      'Rights',
      `rayguard-${component} lacks: ${names}.`,
      'Apply the manifests again; see docs/install.md.'
    )
  }
  for (const { what, code } of unread) {
    const where = what === 'settings' ? 'the ConfigMap rayguard' : 'the Deployments'
    warn(
      'Rights',
      `Which rights are needed is not known whole: ${where} of ${namespace} could not be read (${code}).`,
      'Ask with an account that may.'
    )
  }
  return list
}

function policyChecks({ policies, namespaces, faults }: Observed): Check[] {
  const { list, ok, warn } = createChecks('Policies')
  if (policies === undefined) {
    const fault = faults.find(({ what }) => what === 'policies')
    const missing = fault?.code === 'NotFound'
    warn(
      'Policies',
      missing
        ? 'This API server has no ValidatingAdmissionPolicies.'
        : `The policies could not be read (${fault?.code ?? 'unknown'}).`
    )
    return list
  }
  const names = (kind: string) =>
    new Set(policies.filter(policy => policy.kind === kind).map(({ name }) => name))
  const bound = names('ValidatingAdmissionPolicyBinding')
  const unbound = [...names('ValidatingAdmissionPolicy')].filter(name => !bound.has(name))
  const aboutPods = [...bound].filter(isLockDownPolicy).length
  const required = namespaces?.some(
    ({ metadata }) => metadata.labels?.['rayguard.dev/tls'] === 'required'
  )
  const advice =
    'Install them (policies.enabled of the chart), or bind those that are there (rayguard register): without them nothing ' +
    'notices what another webhook or an edited registration takes away in namespaces that require TLS.'
  const guards = unbound.filter(name => !isLockDownPolicy(name))
  if (guards.length > 0)
    warn(
      'Policies',
      `Not bound: ${guards.join(', ')}.`,
      'Apply the manifests again: these keep Rayguard’s own accounts to what is theirs.'
    )
  else if (unbound.length > 0) warn('Policies', `Not bound: ${unbound.join(', ')}.`, advice)
  else if (aboutPods > 0)
    ok('Policies', `${aboutPods} policies are bound to namespaces that require TLS.`)
  else if (required)
    warn('Policies', 'No policy is bound, though a namespace requires TLS.', advice)
  else ok('Policies', 'No policy is bound, and no namespace requires TLS.')
  return list
}
