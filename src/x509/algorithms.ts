/**
 * Everything that certificates and requests need to know about a signature algorithm, in one table.
 *
 * Decides which algorithms exist for us (RFC 5758 §3.2, RFC 4055 §5); never whether a key is strong enough.
 */
import type { KeyObject } from 'node:crypto'
import { nullValue, objectIdentifier, sequence } from './der.ts'

export interface SignatureAlgorithm {
  name: string
  /** As node:crypto names it; `null` where the algorithm brings its own (Ed25519). */
  hash: 'sha256' | 'sha384' | 'sha512' | null
  /** The key type of node:crypto that can make it. */
  keyType: 'ec' | 'rsa' | 'ed25519'
  /** DER, AlgorithmIdentifier. */
  identifier: Uint8Array
}

// ECDSA and Ed25519 have no parameters (RFC 5758 §3.2, RFC 8410 §3); RSA has NULL (RFC 4055 §5).
const ecdsa = (hash: 'sha256' | 'sha384' | 'sha512', oid: string): SignatureAlgorithm => ({
  name: `ecdsa-with-${hash.toUpperCase()}`,
  hash,
  keyType: 'ec',
  identifier: sequence(objectIdentifier(oid))
})
const rsa = (hash: 'sha256' | 'sha384' | 'sha512', oid: string): SignatureAlgorithm => ({
  name: `${hash}WithRSAEncryption`,
  hash,
  keyType: 'rsa',
  identifier: sequence(objectIdentifier(oid), nullValue())
})

export const signatureAlgorithms = {
  ecdsaSha256: ecdsa('sha256', '1.2.840.10045.4.3.2'),
  ecdsaSha384: ecdsa('sha384', '1.2.840.10045.4.3.3'),
  ecdsaSha512: ecdsa('sha512', '1.2.840.10045.4.3.4'),
  rsaSha256: rsa('sha256', '1.2.840.113549.1.1.11'),
  rsaSha384: rsa('sha384', '1.2.840.113549.1.1.12'),
  rsaSha512: rsa('sha512', '1.2.840.113549.1.1.13'),
  ed25519: {
    name: 'Ed25519',
    hash: null,
    keyType: 'ed25519',
    identifier: sequence(objectIdentifier('1.3.101.112'))
  }
} as const satisfies Record<string, SignatureAlgorithm>

/** The algorithm that a key signs with: the hash as wide as the curve, SHA-256 for RSA. `undefined`: not ours. */
export function signatureAlgorithmOf(key: KeyObject): SignatureAlgorithm | undefined {
  if (key.asymmetricKeyType === 'rsa') return signatureAlgorithms.rsaSha256
  if (key.asymmetricKeyType === 'ed25519') return signatureAlgorithms.ed25519
  if (key.asymmetricKeyType !== 'ec') return undefined
  switch (key.asymmetricKeyDetails?.namedCurve) {
    case 'prime256v1':
      return signatureAlgorithms.ecdsaSha256
    case 'secp384r1':
      return signatureAlgorithms.ecdsaSha384
    default:
      return undefined
  }
}
