/**
 * The CA of one Ray cluster, signed by Vault
 * (https://developer.hashicorp.com/vault/api-docs/secret/pki, "Sign intermediate").
 *
 * All that is in it comes from the parameters; the request gives the key alone.
 */
import type { Chain } from '../../x509/chain.ts'
import { encodePem } from '../../x509/pem.ts'
import {
  AuthorityError,
  type IntermediateAuthority,
  type IntermediateRequest
} from '../authority.ts'
import { intermediateProblem, secondsToAsk } from '../limits.ts'
import type { Session } from './session.ts'
import { certificateIn, isIssuer, type PkiSettings } from './signing.ts'

export interface IntermediatesOptions {
  session: Session
  settings: PkiSettings
  /** As it is now. */
  chain: () => Chain
  /** Looks again, unless that was a moment ago: whether another CA signs than this one. */
  isReplaced: (chain: Chain) => Promise<boolean>
  /** Why the token may not, as far as Vault tells. */
  denied: () => string | undefined
  clock: () => number
}

export function intermediatePath({ mount, issuerRef }: PkiSettings): string {
  return issuerRef === undefined
    ? `${mount}/root/sign-intermediate`
    : `${mount}/issuer/${issuerRef}/sign-intermediate`
}

export function createIntermediates(options: IntermediatesOptions): IntermediateAuthority {
  const { session, settings, clock } = options
  return {
    problem: () => intermediateProblem(options.chain()) ?? options.denied(),
    issuers: () => options.chain().trustAnchor,
    async issue(request) {
      const chain = options.chain()
      const first = await signed(chain, request)
      if (first.expectedIssuer) return first.pem
      // Rotated a moment ago, or for good: only a second look can tell.
      if (await options.isReplaced(chain)) {
        const second = await signed(options.chain(), request)
        if (second.expectedIssuer) return second.pem
      }
      throw new AuthorityError(
        'Unavailable',
        'Vault has signed the CA of a RayCluster with another CA than the issuer that it shows.'
      )
    }
  }

  async function signed(
    chain: Chain,
    { csr, commonName, keyIdentifier, lifetimeSeconds }: IntermediateRequest
  ): Promise<{ pem: string; expectedIssuer: boolean }> {
    const now = clock()
    const request = encodePem('CERTIFICATE REQUEST', csr)
    const body = {
      csr: request,
      format: 'pem',
      use_csr_values: false,
      common_name: commonName,
      // Else it would be a host name too.
      exclude_cn_from_sans: true,
      organization: 'Rayguard',
      max_path_length: 0,
      // Else by a rule of Vault's own, and a CA that another authority has signed before could not be renewed.
      skid: Buffer.from(keyIdentifier).toString('hex'),
      not_before_duration: `${backdateSeconds(chain, now)}s`,
      ttl: `${secondsToAsk(chain, lifetimeSeconds, now)}s`
    }
    const answer = await session.post(intermediatePath(settings), body, [request])
    const der = certificateIn(answer, 'certificate')
    if (der === undefined)
      throw new AuthorityError('Invalid', 'What Vault answers is not one certificate in PEM.')
    return { pem: encodePem('CERTIFICATE', der), expectedIssuer: isIssuer(answer, chain) }
  }
}

/** Five minutes for clocks that are behind, but never before the CA itself. */
function backdateSeconds({ issuing }: Chain, now: number): number {
  return Math.max(0, Math.min(300, Math.floor((now - issuing.notBefore.getTime()) / 1000)))
}
