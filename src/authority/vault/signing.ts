/**
 * One certificate of a pod from a role of the PKI secrets engine
 * (https://developer.hashicorp.com/vault/api-docs/secret/pki, "Sign certificate", "Sign verbatim").
 *
 * Decides what is asked, and reads what comes. Whether that is what was asked is judged by the caller, not here.
 */
import { readCertificate } from '../../x509/certificate.ts'
import type { Chain } from '../../x509/chain.ts'
import { DerError } from '../../x509/der.ts'
import { serialNumberText } from '../../x509/leaf.ts'
import { encodePem, readSinglePem } from '../../x509/pem.ts'
import { equalBytes } from '../../x509/public-key.ts'
import { AuthorityError, type IssuedCertificate, type LeafContent } from '../authority.ts'
import { floorSeconds, refuseClients, refuseForeignNames, secondsToAsk } from '../limits.ts'
import type { Session } from './session.ts'

export interface PkiSettings {
  /** Of the PKI secrets engine. */
  mount: string
  role: string
  /** Without it the mount's default. */
  issuerRef?: string | undefined
  /** `sign`: the names are parameters. `sign-verbatim`: they stand in the pod's own request. */
  mode: 'sign' | 'sign-verbatim'
}

export interface SignedLeaf {
  issued: IssuedCertificate
  /** Whether it comes from the CA that was expected. */
  expectedIssuer: boolean
}

/** Vault's clock may be ahead of ours by so much. */
const clockSkewMs = 5 * 60 * 1000

export function signingPath({ mount, role, issuerRef, mode }: PkiSettings): string {
  const below = issuerRef === undefined ? mount : `${mount}/issuer/${issuerRef}`
  return `${below}/${mode}/${role}`
}

/** Throws AuthorityError. */
export async function signLeaf(
  session: Session,
  settings: PkiSettings,
  chain: Chain,
  request: LeafContent,
  now: number
): Promise<SignedLeaf> {
  refuseClients(request)
  refuseForeignNames(chain, request.names)
  const csr = encodePem('CERTIFICATE REQUEST', request.csr)
  const path = signingPath(settings)
  const body = {
    csr,
    format: 'pem',
    ttl: `${secondsToAsk(chain, request.lifetimeSeconds, now)}s`,
    ...(settings.mode === 'sign' ? namesAsParameters(request) : usages)
  }
  const answer = await session.post(path, body, [csr])
  const issued = read(answer, chain)
  const floor = floorSeconds(request.lifetimeSeconds)
  if (issued.notAfter.getTime() - now < floor * 1000 - clockSkewMs) {
    throw new AuthorityError(
      'Invalid',
      `Vault gives a certificate for less than ${floor} s. Raise max_ttl of the role, or of the mount (vault secrets tune -max-lease-ttl).`,
      { made: true }
    )
  }
  return { issued, expectedIssuer: isIssuer(answer, chain) }
}

function namesAsParameters({ names }: LeafContent) {
  return {
    common_name: '',
    exclude_cn_from_sans: true,
    alt_names: names.dnsNames.join(','),
    ip_sans: names.ipAddresses.join(',')
  }
}

/** What no request can carry here, and a role says otherwise. */
const usages = { key_usage: ['DigitalSignature'], ext_key_usage: ['ServerAuth', 'ClientAuth'] }

function read(answer: Record<string, unknown>, chain: Chain): IssuedCertificate {
  const der = certificateIn(answer, 'certificate')
  if (der === undefined) {
    throw new AuthorityError('Invalid', 'What Vault answers is not one certificate in PEM.', {
      made: true
    })
  }
  try {
    const { serialNumber, notBefore, notAfter } = readCertificate(der)
    return {
      certificate: encodePem('CERTIFICATE', der),
      trustAnchors: chain.trustAnchor,
      serialNumber: serialNumberText(serialNumber),
      notBefore,
      notAfter
    }
  } catch (cause) {
    if (!(cause instanceof DerError)) throw cause
    throw new AuthorityError('Invalid', 'What Vault answers is a malformed certificate.', {
      cause,
      made: true
    })
  }
}

/** Whether this CA has signed, by what Vault says. */
export function isIssuer(answer: Record<string, unknown>, { issuing }: Chain): boolean {
  const der = certificateIn(answer, 'issuing_ca')
  return der !== undefined && equalBytes(der, issuing.der)
}

/** DER of a field that is one certificate in PEM and nothing else. */
export function certificateIn(
  answer: Record<string, unknown>,
  field: 'certificate' | 'issuing_ca'
): Uint8Array | undefined {
  const found = ((answer.data ?? {}) as Record<string, unknown>)[field]
  return typeof found === 'string' ? readSinglePem(found, 'CERTIFICATE') : undefined
}
