/**
 * The CA of one Ray cluster, signed by Vault
 * (https://developer.hashicorp.com/vault/api-docs/secret/pki, "Sign intermediate").
 *
 * All that is in it comes from the parameters; the request gives the key alone.
 */
import type { Chain } from '../../x509/chain.ts'
import { encodePem } from '../../x509/pem.ts'
import { AuthorityError, type IntermediateAuthority } from '../authority.ts'
import { intermediateProblem, secondsToAsk } from '../limits.ts'
import type { Session } from './session.ts'
import { certificateIn, type PkiSettings } from './signing.ts'

export interface IntermediatesOptions {
  session: Session
  settings: PkiSettings
  /** As it is now. */
  chain: () => Chain
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
    async issue({ csr, commonName, keyIdentifier, lifetimeSeconds }) {
      const chain = options.chain()
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
      if (der !== undefined) return encodePem('CERTIFICATE', der)
      throw new AuthorityError('Invalid', 'What Vault answers is not one certificate in PEM.')
    }
  }
}

/** Five minutes for clocks that are behind, but never before the CA itself. */
function backdateSeconds({ issuing }: Chain, now: number): number {
  return Math.max(0, Math.min(300, Math.floor((now - issuing.notBefore.getTime()) / 1000)))
}
