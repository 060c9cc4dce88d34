/** What has to hold between several settings. */

import { durationSeconds } from './duration.ts'
import { formatNamed } from './formats.ts'
import { lifetimeBounds } from './lifetime-bounds.ts'
import type { Problem } from './node.ts'
import type { SettingsFile } from './schema.ts'

/** Problems of a file whose every value is right alone. */
export function ruleProblems(settings: SettingsFile): Problem[] {
  return [
    ...servingRules(settings),
    ...componentRules(settings),
    ...authorityRules(settings),
    ...portRules(settings),
    ...audienceRules(settings),
    ...lifetimeRules(settings),
    ...clientRules(settings),
    ...shutdownRules(settings)
  ]
}

/** A file that is named and not read would look as if it were in use. */
function servingRules({ serving, registration }: SettingsFile): Problem[] {
  if (serving.kind === 'files') return []
  const unused = 'is only read with serving.kind: files; set that, or remove this'
  return [
    ...(['certificateFile', 'privateKeyFile'] as const)
      .filter(key => serving[key] !== undefined)
      .map(key => ({ path: ['serving', key], message: unused })),
    ...(registration.caBundleFile === undefined
      ? []
      : [{ path: ['registration', 'caBundleFile'], message: unused }])
  ]
}

function componentRules({ components, injection, serving, authority }: SettingsFile): Problem[] {
  const problems: Problem[] = []
  const publishes = serving.kind === 'selfManaged'
  const inject = components.filter(name => name !== 'preview')
  if (inject.length > 0 && injection.image === undefined) {
    problems.push({
      path: ['injection', 'image'],
      message: `is missing: the ${inject.join(' and the ')} component needs it; expected ${formatNamed('image').expected}`
    })
  }
  if (components.includes('webhook') && !publishes && injection.serverCaFile === undefined) {
    problems.push({
      path: ['injection', 'serverCaFile'],
      message:
        'is missing: with serving.kind: files the webhook component needs it, to tell pods whom to trust when they enroll'
    })
  }
  if (components.includes('enrollment') && authority === undefined) {
    problems.push({
      path: ['authority'],
      message: 'is missing: the enrollment component needs it, to sign'
    })
  }
  return problems
}

type AuthoritySection = NonNullable<SettingsFile['authority']>

function authorityRules(settings: SettingsFile): Problem[] {
  const { authority } = settings
  switch (authority?.kind) {
    case 'pkcs11':
      return tokenRules(authority)
    case 'kubernetes-csr':
      return signerRules(authority, settings)
    case 'cert-manager':
      return issuerRules(authority)
    case 'vault':
      return vaultRules(authority)
    default:
      return []
  }
}

/** Who may approve the certificate of a pod must not have approved a CA by it. */
function signerRules(
  { signerName, intermediateSignerName }: AuthoritySection & { kind: 'kubernetes-csr' },
  { components, trust }: SettingsFile
): Problem[] {
  const path = ['authority', 'intermediateSignerName']
  if (intermediateSignerName === signerName) {
    const message = `expected another signer than authority.signerName, found ${signerName}, which signs pods`
    return [{ path, message }]
  }
  // Who does not sign has no need to end for it, such as a webhook with the same file.
  if (intermediateSignerName !== undefined || trust === 'shared') return []
  if (!components.includes('enrollment')) return []
  const message =
    'is missing: with trust: perCluster expected the signer of a CA for each RayCluster; name one, or set trust: shared, where every Ray cluster trusts the same CA (docs/trust.md)'
  return [{ path, message }]
}

/** Attack: what signs for every namespace signs for a tenant too. Kinds with other names are looked up when it is opened. */
function issuerRules({
  issuer,
  issuerOpenToAllNamespaces
}: AuthoritySection & { kind: 'cert-manager' }): Problem[] {
  if (issuerOpenToAllNamespaces || !issuer.kind.endsWith('ClusterIssuer')) return []
  const message = `expected an issuer of Rayguard's own namespace, found a ${issuer.kind}, which any namespace may ask for a certificate that joins every Ray cluster; issuerOpenToAllNamespaces: true accepts that`
  return [{ path: ['authority', 'issuer', 'kind'], message }]
}

function vaultRules({ address }: AuthoritySection & { kind: 'vault' }): Problem[] {
  if (!isLinkLocal(new URL(address).hostname)) return []
  const message =
    'expected the address of Vault, found one that is link-local, where clouds have their metadata'
  return [{ path: ['authority', 'address'], message }]
}

function tokenRules(authority: AuthoritySection & { kind: 'pkcs11' }): Problem[] {
  const { tokenLabel, slot, sealing } = authority
  const message = 'is missing: expected it or slot, to find the token'
  return [
    ...(tokenLabel === undefined && slot === undefined
      ? [{ path: ['authority', 'tokenLabel'], message }]
      : []),
    ...keyRule(authority, []),
    ...(sealing === undefined ? [] : keyRule(sealing, ['sealing'])),
    ...(sealing?.former === undefined ? [] : keyRule(sealing.former, ['sealing', 'former']))
  ]
}

function keyRule(
  { keyLabel, keyId }: { keyLabel?: string; keyId?: string },
  place: string[]
): Problem[] {
  if (keyLabel !== undefined || keyId !== undefined) return []
  const message = 'is missing: expected it or keyId, to find the key'
  return [{ path: ['authority', ...place, 'keyLabel'], message }]
}

/** RFC 3927 §2.1, RFC 4291 §2.5.6, as URLs spell them. */
function isLinkLocal(host: string): boolean {
  return /^169\.254\./.test(host) || /^\[fe[89ab][0-9a-f]:/.test(host)
}

function portRules({ components, listen }: SettingsFile): Problem[] {
  const listening = components.filter(name => name !== 'replacement')
  const used = [...listening, 'ops' as const].filter(name => listen[name].port !== 0)
  return used.flatMap((name, index) => {
    const earlier = used.slice(0, index).find(other => listen[other].port === listen[name].port)
    return earlier === undefined
      ? []
      : [
          {
            path: ['listen', name, 'port'],
            message: `expected a port of its own, found ${listen[name].port}, which is listen.${earlier}.port too`
          }
        ]
  })
}

/**
 * Attack: with the API server's own audience every pod's ordinary API token would pass for one of ours. These are the names
 * that API servers give themselves; docs of managed clusters tell others.
 */
function audienceRules({ enrollment: { audience } }: SettingsFile): Problem[] {
  return /^https:\/\/kubernetes(?:[.:/]|$)/i.test(audience)
    ? [
        {
          path: ['enrollment', 'audience'],
          message: `expected an audience of Rayguard's own, like rayguard, found ${audience}, which is the API server's`
        }
      ]
    : []
}

/** `spec.expirationSeconds` of a CertificateSigningRequest is 600 at least (Kubernetes API reference, certificates.k8s.io/v1). */
const shortestOfSigners = { seconds: 600, text: '10m' }

function lifetimeRules({ authority, enrollment, trust }: SettingsFile): Problem[] {
  const { shortestSeconds, longestSeconds } = lifetimeBounds(enrollment)
  const chosen = durationSeconds(enrollment.lifetime) ?? 0
  const { shortest, longest } = enrollment.namespaceLifetime
  const problem = (key: 'shortest' | 'longest', wanted: string, found = '') => ({
    path: ['enrollment', 'namespaceLifetime', key],
    message: `expected at ${wanted} enrollment.lifetime (${enrollment.lifetime}), found ${found}`
  })
  const tooShort = (path: string[], found: string) => ({
    path: ['enrollment', ...path],
    message: `expected at least ${shortestOfSigners.text} with authority.kind: kubernetes-csr and trust: shared, found ${found}`
  })
  const isTooShort = (text = '') =>
    // Otherwise it signs CAs alone, for longer.
    trust === 'shared' &&
    authority?.kind === 'kubernetes-csr' &&
    (durationSeconds(text) ?? shortestOfSigners.seconds) < shortestOfSigners.seconds
  return [
    ...(isTooShort(enrollment.lifetime) ? [tooShort(['lifetime'], enrollment.lifetime)] : []),
    ...(shortest !== undefined && isTooShort(shortest)
      ? [tooShort(['namespaceLifetime', 'shortest'], shortest)]
      : []),
    ...(shortestSeconds > chosen ? [problem('shortest', 'most', shortest)] : []),
    ...(longestSeconds < chosen ? [problem('longest', 'least', longest)] : [])
  ]
}

const kindsForClients: readonly string[] = ['pem', 'pkcs11']

/** Signers elsewhere are set up for pods, which serve; what they sign for a client would be refused each time. */
function clientRules({ clientCertificates, authority, trust }: SettingsFile): Problem[] {
  if (!clientCertificates.enabled || authority === undefined || trust !== 'shared') return []
  if (kindsForClients.includes(authority.kind)) return []
  return [
    {
      path: ['clientCertificates', 'enabled'],
      message: `expected authority.kind ${kindsForClients.join(' or ')} with trust shared, found ${authority.kind}, which signs for pods alone`
    }
  ]
}

function shutdownRules({ shutdown }: SettingsFile): Problem[] {
  const drain = durationSeconds(shutdown.drain) ?? 0
  const deadline = durationSeconds(shutdown.deadline) ?? 0
  return deadline > drain
    ? []
    : [
        {
          path: ['shutdown', 'deadline'],
          message: `expected more than shutdown.drain (${shutdown.drain}), found ${shutdown.deadline}`
        }
      ]
}
