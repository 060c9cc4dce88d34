/**
 * What a role does, seen by one signature for a key that is thrown away: a role that drops names or usages is found here
 * and not by the first pod.
 *
 * The roles' own settings are not asked for: reading them is a right that signing does not need, and only a certificate
 * shows what comes of them together with those of the mount. Where the role stores certificates this one stays in Vault;
 * nobody has its key, and its names are nobody's (RFC 5737, RFC 6761).
 */
import { checkLeaf } from '../../x509/check-leaf.ts'
import type { LeafProblemCode } from '../../x509/leaf-problem.ts'
import { makeKeyPair } from '../../x509/new-key.ts'
import { readSinglePem } from '../../x509/pem.ts'
import { createCertificateRequest } from '../../x509/request.ts'
import { AuthorityError, type IssuedCertificate, type LeafContent } from '../authority.ts'

export interface Trial {
  /** For messages: `role ray-pods at pki`. */
  what: string
  /** `request`: the names stand in it too. */
  namesFrom: 'server' | 'request'
  clusterDomain: string
  lifetimeSeconds: number
  now: number
  sign(request: LeafContent): Promise<IssuedCertificate>
}

/** Warnings. Throws AuthorityError, `Invalid` where pods could not use what the role makes. */
export async function tryRole(trial: Trial): Promise<string[]> {
  const { what, clusterDomain, lifetimeSeconds, now, namesFrom } = trial
  const names = {
    dnsNames: ['localhost', `trial-head-svc.rayguard-trial.svc.${clusterDomain}`],
    ipAddresses: ['127.0.0.1', '::1', '192.0.2.1']
  }
  const keys = await makeKeyPair('P-256')
  const publicKey = keys.publicKey.export({ type: 'spki', format: 'der' })
  const pem = createCertificateRequest(keys.privateKey, namesFrom === 'request' ? names : undefined)
  const csr = readSinglePem(pem, 'CERTIFICATE REQUEST') ?? new Uint8Array()
  const issued = await trial.sign({ publicKey, csr, names, lifetimeSeconds })
  const problems = checkLeaf(issued, {
    publicKey,
    names,
    now: new Date(now),
    maximumLifetimeSeconds: lifetimeSeconds
  })
  if (problems.length > 0) {
    const found = problems.map(({ code, detail }) => `${code}: ${detail}`).join(' ')
    const codes = new Set(problems.map(({ code }) => code))
    const settings = [...codes].flatMap(code => advice[code] ?? []).join('; ')
    throw new AuthorityError(
      'Invalid',
      `Pods cannot use what ${what} makes. ${found} Look at these of the role: ${settings}.`
    )
  }
  return dateWarnings(issued, trial)
}

/** What to set in the role. */
const advice: Partial<Record<LeafProblemCode, string>> = {
  Subject: 'require_cn=false use_csr_common_name=false, no organization, ou or the like',
  Names: 'use_csr_sans=false',
  KeyUsage: 'key_usage=DigitalSignature',
  ExtendedKeyUsage: 'server_flag=true client_flag=true, no other flag, no ext_key_usage',
  Dates: 'not_before_duration=5m, and the clocks',
  Lifetime: 'no not_after'
}

const minuteMs = 60_000
const dayMs = 86_400_000

function dateWarnings(
  { notBefore, notAfter }: IssuedCertificate,
  { what, lifetimeSeconds, now }: Trial
): string[] {
  const short = now + lifetimeSeconds * 1000 - notAfter.getTime()
  return [
    ...(short > 10 * minuteMs
      ? [
          `${what} gives ${days(notAfter.getTime() - now)} of the ${days(lifetimeSeconds * 1000)} that are asked for: look at max_ttl of the role, max-lease-ttl of the mount, and the end of the CA`
        ]
      : []),
    ...(notBefore.getTime() > now - minuteMs
      ? [
          `${what} lets certificates begin less than a minute ago, and gRPC refuses one from the future where clocks differ: set not_before_duration=5m`
        ]
      : [])
  ]
}

function days(ms: number): string {
  return `${(ms / dayMs).toFixed(1)} days`
}
