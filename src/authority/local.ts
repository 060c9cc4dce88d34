/**
 * Signs with a key that this process can use, below a chain that has been found usable.
 *
 * Decides dates and serial number, and that a certificate never outlives its chain. Pods trust the issuing CA alone, so
 * the answer is the leaf without the CAs above.
 */
import type { Chain } from '../x509/chain.ts'
import { intermediateToBeSigned, signedCertificate } from '../x509/intermediate.ts'
import {
  createLeafWriter,
  type LeafWriter,
  randomSerialNumber,
  serialNumberText
} from '../x509/leaf.ts'
import { encodePem } from '../x509/pem.ts'
import { publicKeyAlgorithm } from '../x509/public-key.ts'
import {
  type AuthorityDescription,
  AuthorityError,
  type IntermediateAuthority,
  type IssuedCertificate,
  type LeafContent
} from './authority.ts'
import { intermediateProblem, latestEnd, refuseForeignNames, refuseIntermediate } from './limits.ts'
import type { SigningKey } from './pem-key.ts'

export interface Sources {
  /** Milliseconds since the epoch. */
  clock: () => number
  random: (size: number) => Uint8Array
}

/** What one pair of chain and key does; a reload makes a new one. */
export interface LocalIssuer {
  chain(): Chain
  issue(request: LeafContent): Promise<IssuedCertificate>
  describe(): AuthorityDescription
  readonly intermediates: IntermediateAuthority
}

/** Clocks of nodes differ, and gRPC refuses a certificate from two minutes ahead. */
const backdatedMs = 5 * 60 * 1000

export function createLocalIssuer(
  kind: string,
  chain: Chain,
  key: SigningKey,
  sources: Sources
): LocalIssuer {
  const { clock, random } = sources
  const writer = createLeafWriter({
    subject: chain.issuing.subject,
    keyIdentifier: chain.keyIdentifier,
    signatureAlgorithm: key.algorithm
  })
  return {
    chain: () => chain,
    async issue(request) {
      const dates = validity(chain, request.lifetimeSeconds, clock())
      const serialNumber = randomSerialNumber(random)
      const toBeSigned = encode(writer, chain, request, { ...dates, serialNumber })
      const signature = await key.sign(toBeSigned)
      return {
        certificate: encodePem('CERTIFICATE', writer.certificate(toBeSigned, signature)),
        trustAnchors: chain.trustAnchor,
        serialNumber: serialNumberText(serialNumber),
        ...dates
      }
    },
    describe: () => ({
      kind,
      subject: chain.subject,
      notBefore: chain.issuing.notBefore,
      notAfter: chain.notAfter,
      anchorSha256: chain.anchorSha256,
      anchorKeySha256: chain.anchorKeySha256
    }),
    intermediates: localIntermediates(chain, key, sources)
  }
}

/** Those of the issuer that is in use at the moment, which a reload replaces. */
export function currentIntermediates(issuer: () => LocalIssuer): IntermediateAuthority {
  return {
    problem: () => issuer().intermediates.problem(),
    issue: request => issuer().intermediates.issue(request),
    issuers: () => issuer().intermediates.issuers?.() ?? ''
  }
}

function localIntermediates(
  chain: Chain,
  key: SigningKey,
  { clock, random }: Sources
): IntermediateAuthority {
  const problem = intermediateProblem(chain)
  return {
    problem: () => problem,
    issuers: () => chain.trustAnchor,
    async issue({ publicKey, subject, keyIdentifier, lifetimeSeconds }) {
      refuseIntermediate(problem)
      const toBeSigned = intermediateToBeSigned(
        {
          subject: chain.issuing.subject,
          keyIdentifier: chain.keyIdentifier,
          signatureAlgorithm: key.algorithm
        },
        {
          ...{ publicKey, subject, keyIdentifier, serialNumber: randomSerialNumber(random) },
          ...validity(chain, lifetimeSeconds, clock())
        }
      )
      const signature = await key.sign(toBeSigned)
      return encodePem('CERTIFICATE', signedCertificate(toBeSigned, key.algorithm, signature))
    }
  }
}

/** In whole seconds. */
function validity(
  chain: Chain,
  lifetimeSeconds: number,
  now: number
): { notBefore: Date; notAfter: Date } {
  const notAfter = latestEnd(chain, lifetimeSeconds, now)
  const notBefore = Math.max(now - backdatedMs, chain.notBefore.getTime())
  return { notBefore: wholeSeconds(notBefore), notAfter: wholeSeconds(notAfter) }
}

function wholeSeconds(time: number): Date {
  return new Date(Math.floor(time / 1000) * 1000)
}

function encode(
  writer: LeafWriter,
  chain: Chain,
  request: LeafContent,
  parts: { serialNumber: Uint8Array; notBefore: Date; notAfter: Date }
): Uint8Array {
  const keyAlgorithm = publicKeyAlgorithm(request.publicKey)
  if (keyAlgorithm === undefined) {
    throw new AuthorityError('Refused', 'The key is not P-256, P-384 or RSA of 2048 to 4096 bits.')
  }
  refuseForeignNames(chain, request.names)
  return writer.toBeSigned({
    publicKey: request.publicKey,
    keyAlgorithm,
    names: request.names,
    purpose: request.purpose,
    ...parts
  })
}
