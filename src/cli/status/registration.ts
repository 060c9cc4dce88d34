/** Whether the API server asks Rayguard about every Ray pod and Ray resource, and would trust its answer. Pure. */
import { X509Certificate } from 'node:crypto'
import type { WebhookEntry } from '../../kubernetes/objects.ts'
import { type Check, createChecks } from './check.ts'
import type { Observed } from './observe.ts'

const warningsEntry = 'resources.rayguard.dev'
const entryNames = ['pods.rayguard.dev', 'submitters.rayguard.dev']
const install = 'Apply the manifests again; see docs/install.md.'

export function registrationChecks(observed: Observed): Check[] {
  return [
    ...podChecks(observed),
    ...warningsChecks(observed),
    ...(observed.registration === undefined ? [] : bundleChecks(observed))
  ]
}

function podChecks(observed: Observed): Check[] {
  const { list, ok, warn, fail } = createChecks('Registration')
  const { registration, faults } = observed
  if (registration === undefined) {
    const fault = faults.find(({ what }) => what === 'registration')
    if (fault) warn('Registration', `The registration could not be read (${fault.code}).`)
    else {
      const text =
        'There is no MutatingWebhookConfiguration "rayguard": new Ray pods are left as they are.'
      fail('Registration', text, install)
    }
    return list
  }
  const entries = registration.webhooks ?? []
  const missing = entryNames.filter(name => !entries.some(entry => entry.name === name))
  if (missing.length > 0)
    fail('Registration', `Entries are missing: ${missing.join(', ')}.`, install)
  else ok('Registration', `The webhook is registered: ${entryNames.join(', ')}.`)
  const open = entries.filter(({ failurePolicy }) => failurePolicy !== 'Fail')
  if (open.length > 0) {
    const names = open.map(({ name }) => name).join(', ')
    const advice =
      'Set it to Fail: a pod that slips through while the webhook is away has no TLS and joins nothing.'
    warn('FailurePolicy', `failurePolicy of ${names} is not Fail.`, advice)
  }
  return list
}

/** Nothing here is a failure: without it pods get what they get, and nobody is told beforehand. */
function warningsChecks({ warnings, faults }: Observed): Check[] {
  const { list, ok, warn } = createChecks('Registration')
  const fault = faults.find(({ what }) => what === 'warnings')
  const entry = warnings?.webhooks?.find(({ name }) => name === warningsEntry)
  if (fault)
    warn('Warnings', `The ValidatingWebhookConfiguration could not be read (${fault.code}).`)
  else if (entry === undefined) {
    const text =
      'There is no ValidatingWebhookConfiguration "rayguard": whoever applies a Ray resource is told nothing of its pods.'
    warn(
      'Warnings',
      text,
      `Unless you left it out (registration.warnings of the chart): ${install}`
    )
  } else if (entry.failurePolicy !== 'Ignore') {
    const text = `failurePolicy of ${entry.name} is not Ignore: while the webhook is away no Ray resource can be applied.`
    warn('Warnings', text, 'Set it to Ignore: it only warns.')
  } else ok('Warnings', `Whoever applies a Ray resource is warned: ${entry.name}.`)
  return list
}

function bundleChecks(observed: Observed): Check[] {
  const { list, ok, warn, fail } = createChecks('Registration')
  const served = (observed.replicas ?? []).flatMap(({ name, status }) => {
    const pem = status?.servingCertificates.webhook
    return pem === undefined ? [] : [{ name, pem }]
  })
  const problems = new Set<string>()
  const { registration, warnings } = observed
  const entries = [registration, warnings].flatMap(each => each?.webhooks ?? [])
  for (const entry of entries) {
    const bundle = certificatesIn(entry)
    if (bundle.length === 0) {
      problems.add(`${entry.name} has no caBundle that can be read`)
      continue
    }
    for (const { name, pem } of served) {
      const problem = problemOf(pem, bundle, hostOf(entry), observed.now)
      if (problem) problems.add(`${entry.name} does not trust replica ${name}: ${problem}`)
    }
  }
  if (problems.size > 0) {
    const advice =
      'The webhook writes the caBundle itself within a minute; if it does not, its log says why. With a certificate of ' +
      'your own, put its CA there.'
    for (const problem of problems) fail('CaBundle', `${problem}.`, advice)
  } else if (served.length > 0) {
    ok(
      'CaBundle',
      `The caBundle vouches for the certificate of ${served.map(({ name }) => name).join(', ')}.`
    )
  } else {
    warn(
      'CaBundle',
      'No replica of the webhook showed its certificate, so the caBundle was not compared.'
    )
  }
  return list
}

function certificatesIn({ clientConfig }: WebhookEntry): X509Certificate[] {
  const pem = Buffer.from(clientConfig?.caBundle ?? '', 'base64').toString('utf8')
  return read(pem) ?? []
}

function hostOf({ clientConfig }: WebhookEntry): string | undefined {
  const { service, url } = clientConfig ?? {}
  if (service) return `${service.name}.${service.namespace}.svc`
  return url ? new URL(url).hostname : undefined
}

/** As the API server verifies: a chain to one of the bundle, within its time, with the name that it asks for. */
function problemOf(
  pem: string,
  bundle: readonly X509Certificate[],
  host: string | undefined,
  now: number
): string | undefined {
  const [leaf, ...between] = read(pem) ?? []
  if (leaf === undefined) return 'its certificate cannot be read'
  if (Date.parse(leaf.validTo) <= now) return `its certificate ended at ${leaf.validTo}`
  if (Date.parse(leaf.validFrom) > now) return `its certificate begins at ${leaf.validFrom}`
  const isName = host !== undefined && !/^[\d.]+$|:/.test(host)
  if (isName && leaf.checkHost(host) === undefined) return `its certificate is not for ${host}`
  const issues = (ca: X509Certificate, of: X509Certificate) =>
    of.checkIssued(ca) && of.verify(ca.publicKey)
  let current = leaf
  for (let depth = 0; depth <= between.length; depth += 1) {
    const anchor = bundle.find(
      ca => ca.fingerprint256 === current.fingerprint256 || issues(ca, current)
    )
    if (anchor)
      return Date.parse(anchor.validTo) <= now
        ? `the CA in it ended at ${anchor.validTo}`
        : undefined
    const next = between.find(ca => issues(ca, current))
    if (next === undefined) break
    current = next
  }
  return 'its certificate comes from another CA'
}

function read(pem: string): X509Certificate[] | undefined {
  try {
    const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    return blocks.map(block => new X509Certificate(block))
  } catch {
    return undefined
  }
}
