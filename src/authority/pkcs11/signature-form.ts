/**
 * How a certificate's bytes become what a token signs, and its answer a signature of X.509.
 *
 * PURE. The digest is made here, so that few bytes travel to the HSM, and only the two mechanisms are used that every
 * token has: CKM_ECDSA and CKM_RSA_PKCS.
 */
import { createHash, type KeyObject } from 'node:crypto'
import { type SignatureAlgorithm, signatureAlgorithmOf } from '../../x509/algorithms.ts'
import { sequence, unsignedInteger } from '../../x509/der.ts'

export interface SignatureForm {
  algorithm: SignatureAlgorithm
  mechanism: number
  /** Bytes of the token's answer. */
  size: number
  prepare(toBeSigned: Uint8Array): Buffer
  finish(raw: Uint8Array): Uint8Array
}

/** PKCS#11 2.40 current mechanisms §2.1.6, §2.3.6. */
const rsaPkcs = 0x1
const ecdsa = 0x1041
/** DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2, note 1). */
const sha256Info = Buffer.from('3031300d060960864801650304020105000420', 'hex')

/** `undefined` for a key that tokens are not asked to sign with: Ed25519, other curves. */
export function signatureForm(publicKey: KeyObject): SignatureForm | undefined {
  const algorithm = signatureAlgorithmOf(publicKey)
  if (algorithm === undefined || algorithm.hash === null) return undefined
  const { hash } = algorithm
  const digest = (bytes: Uint8Array) => createHash(hash).update(bytes).digest()
  if (algorithm.keyType === 'rsa') {
    return {
      algorithm,
      mechanism: rsaPkcs,
      size: (publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8,
      prepare: bytes => Buffer.concat([sha256Info, digest(bytes)]),
      finish: raw => raw
    }
  }
  // The two curves that signatureAlgorithmOf knows have a number as wide as their digest.
  return {
    algorithm,
    mechanism: ecdsa,
    size: 2 * (hash === 'sha256' ? 32 : 48),
    prepare: digest,
    finish: ecdsaSignature
  }
}

/** PKCS#11 has r and s side by side, X.509 a sequence of two numbers (RFC 5480, appendix A). */
function ecdsaSignature(raw: Uint8Array): Uint8Array {
  const half = raw.length / 2
  return sequence(unsignedInteger(raw.subarray(0, half)), unsignedInteger(raw.subarray(half)))
}
