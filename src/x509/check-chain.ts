/**
 * What a CA must be for pods to use its certificates, as one list of checks.
 *
 * Decides on a chain that is in order already. The limits that no RFC has were measured with gRPC, and are checked for
 * all certificates, although pods trust the lowest alone: other TLS stacks look at those above it too.
 */

import {
  basicConstraintsOf,
  type Certificate,
  extendedKeyUsageOf,
  extensionOids,
  keyCertSign,
  keyUsageOf,
  nameConstraintsOf,
  verificationKey
} from './certificate.ts'
import type { Chain, ChainOptions } from './chain.ts'
import { maximumChainBytes } from './check-leaf.ts'

export type ChainCheckCode =
  | 'Readable'
  | 'Order'
  | 'Authority'
  | 'KeyUsage'
  | 'Purposes'
  | 'CriticalExtension'
  | 'PathLength'
  | 'Dates'
  | 'Key'
  | 'AddressConstraints'
  | 'NameConstraints'
  | 'Size'

export interface ChainCheck {
  code: ChainCheckCode
  /** What is so when the check passes. */
  title: string
  /** What was found instead. */
  problem: string | undefined
}

interface Check {
  code: ChainCheckCode
  title: string
  problem(chain: Chain, options: ChainOptions): string | undefined
}

const tlsPurposes = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']
const anyPurpose = '2.5.29.37.0'
/** Policies constrain nothing here; certificates of pods have none. */
const understood = new Set<string>([
  ...Object.values(extensionOids),
  '2.5.29.32',
  '2.5.29.33',
  '2.5.29.36',
  '2.5.29.54'
])

const checks: Check[] = [
  {
    code: 'Authority',
    title: 'Each one is a CA',
    problem: inAny(certificate =>
      basicConstraintsOf(certificate).isAuthority ? undefined : 'is not a CA (basicConstraints)'
    )
  },
  {
    code: 'KeyUsage',
    title: 'Each one may sign certificates',
    problem: inAny(certificate =>
      (keyUsageOf(certificate)?.has(keyCertSign) ?? true)
        ? undefined
        : 'has a keyUsage without keyCertSign'
    )
  },
  {
    code: 'Purposes',
    title: 'None keeps its certificates from being server and client',
    problem: inAny(certificate => {
      const purposes = extendedKeyUsageOf(certificate)
      return purposes === undefined ||
        purposes.has(anyPurpose) ||
        tlsPurposes.every(purpose => purposes.has(purpose))
        ? undefined
        : 'has an extendedKeyUsage without both serverAuth and clientAuth'
    })
  },
  {
    code: 'CriticalExtension',
    title: 'None has a critical extension that gRPC does not know',
    problem: inAny(({ extensions }) => {
      const unknown = [...extensions].find(
        ([oid, { critical }]) => critical && !understood.has(oid)
      )
      return unknown && `has the critical extension ${unknown[0]}`
    })
  },
  {
    code: 'PathLength',
    title: 'The path lengths allow this chain',
    problem: ({ certificates }) => {
      const short = certificates.findIndex(
        (certificate, below) => (basicConstraintsOf(certificate).pathLength ?? below) < below
      )
      return short < 0 ? undefined : `${position(short)} does not allow so many CAs below it`
    }
  },
  {
    code: 'Dates',
    title: 'All of them are valid now',
    problem: inAny(({ notBefore, notAfter }, { now }) => {
      if (now < notBefore) return `is not valid before ${notBefore.toISOString()}`
      return now < notAfter ? undefined : `has expired at ${notAfter.toISOString()}`
    })
  },
  {
    code: 'Key',
    title: 'The keys are strong enough and of a usable kind',
    problem: (chain, options) => issuingKeyProblem(chain) ?? inAny(weakKey)(chain, options)
  },
  {
    code: 'AddressConstraints',
    title: 'No name constraints on IP addresses, which gRPC fails on',
    problem: inAny(certificate =>
      nameConstraintsOf(certificate)?.hasAddresses
        ? 'has name constraints on IP addresses; gRPC (BoringSSL) fails every connection then'
        : undefined
    )
  },
  {
    code: 'NameConstraints',
    title: 'The name constraints allow the names of pods',
    problem: (chain, { clusterDomain }) => {
      const needed = ['localhost', ...(clusterDomain ? [`head.pods.svc.${clusterDomain}`] : [])]
      const kept = needed.find(name => !chain.permits(name))
      return kept && `The name constraints do not allow ${kept}, which pods need`
    }
  },
  {
    code: 'Size',
    title: `The chain is not above ${maximumChainBytes} bytes`,
    problem: ({ certificates }) => {
      const bytes = certificates.reduce((sum, { der }) => sum + der.length, 0)
      return bytes > maximumChainBytes
        ? `It has ${bytes} bytes; with a chain above 8400 gRPC connects and then fails each call`
        : undefined
    }
  }
]

/** Each check with its result, in a fixed order. Throws DerError when an extension is malformed. */
export function checkChain(chain: Chain, options: ChainOptions): ChainCheck[] {
  return checks.map(({ code, title, problem }) => ({
    code,
    title,
    problem: problem(chain, options)
  }))
}

/** What gRPC takes, as measured, and OpenSSL does not: it knows no purpose that stands for all others. */
export function purposeWarnings(certificates: readonly Certificate[]): string[] {
  return certificates.flatMap((certificate, at) => {
    const purposes = extendedKeyUsageOf(certificate)
    const named = tlsPurposes.every(purpose => purposes?.has(purpose))
    if (!purposes?.has(anyPurpose) || named) return []
    return [
      `${position(at)} has anyExtendedKeyUsage without serverAuth and clientAuth; gRPC takes what it signs, ` +
        'OpenSSL does not, and with it "rayguard verify" and other programs. Renew it without extendedKeyUsage'
    ]
  })
}

function inAny(
  problem: (certificate: Certificate, options: ChainOptions) => string | undefined
): Check['problem'] {
  return ({ certificates }, options) => {
    for (const [at, certificate] of certificates.entries()) {
      const found = problem(certificate, options)
      if (found !== undefined) return `${position(at)} ${found}`
    }
    return undefined
  }
}

function position(at: number): string {
  return at === 0 ? 'The issuing CA' : `CA ${at} above it`
}

/** Curves other than these two are slow, or not in BoringSSL; an Ed25519 CA works, unlike an Ed25519 leaf. */
function issuingKeyProblem({ publicKey }: Chain): string | undefined {
  const kind = publicKey.asymmetricKeyType
  const curve = publicKey.asymmetricKeyDetails?.namedCurve
  const usable =
    kind === 'rsa' ||
    kind === 'ed25519' ||
    (kind === 'ec' && (curve === 'prime256v1' || curve === 'secp384r1'))
  return usable
    ? undefined
    : `The key of the issuing CA is ${curve ?? kind}; P-256, P-384, RSA or Ed25519 was expected`
}

function weakKey({ publicKey }: Certificate): string | undefined {
  const key = verificationKey(publicKey)
  const bits = key?.asymmetricKeyDetails?.modulusLength
  if (key === undefined) return 'has a key that OpenSSL does not take'
  if (bits === undefined) return undefined
  if (bits < 2048 || bits > 8192) return `has an RSA key of ${bits} bits; 2048 to 8192 was expected`
  return key.asymmetricKeyDetails?.publicExponent === 65537n
    ? undefined
    : 'has an RSA key with another exponent than 65537'
}
