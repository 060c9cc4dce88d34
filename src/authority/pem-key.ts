/**
 * A CA's private key out of a PEM file: PKCS#8 (also encrypted), SEC1 or PKCS#1.
 *
 * Decides whether the text is a key that signs. The key never leaves this file but as signatures, and no message quotes
 * any of it.
 */
import { createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { type SignatureAlgorithm, signatureAlgorithmOf } from '../x509/algorithms.ts'
import { AuthorityError } from './authority.ts'

/** What signs: a key in memory, or one that stays in its own device. */
export interface SigningKey {
  readonly algorithm: SignatureAlgorithm
  /** DER of an ECDSA signature, bytes of another. A value where that takes no longer than a turn of the event loop. */
  sign(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>
}

export interface PemKey extends SigningKey {
  /** Whether the certificate is for this key. */
  belongsTo(certificate: { checkPrivateKey(key: KeyObject): boolean }): boolean
}

const signInThread = promisify(sign)

/** Throws AuthorityError `Invalid`. */
export function openPemKey(pem: string, passphrase?: string): PemKey {
  const key = parse(pem, passphrase)
  const algorithm = signatureAlgorithmOf(key)
  if (algorithm === undefined) {
    const kind = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType
    throw new AuthorityError(
      'Invalid',
      `The private key is ${kind}; P-256, P-384, RSA or Ed25519 was expected.`
    )
  }
  // RSA takes milliseconds and would hold up admissions; P-256 takes less than the way to a thread and back.
  const quick = algorithm.keyType !== 'rsa'
  return {
    algorithm,
    sign: bytes =>
      quick ? sign(algorithm.hash, bytes, key) : signInThread(algorithm.hash, bytes, key),
    belongsTo: certificate => certificate.checkPrivateKey(key)
  }
}

function parse(pem: string, passphrase: string | undefined): KeyObject {
  const encrypted = /ENCRYPTED/.test(pem)
  if (encrypted && passphrase === undefined) {
    throw new AuthorityError(
      'Invalid',
      'The private key is encrypted; set passphraseFile to a file with its passphrase.'
    )
  }
  try {
    return createPrivateKey({
      key: pem,
      format: 'pem',
      ...(passphrase === undefined ? {} : { passphrase })
    })
  } catch (cause) {
    const hint = encrypted ? 'the passphrase does not open it, or it is damaged' : 'it is damaged'
    throw new AuthorityError('Invalid', `The private key in PEM cannot be read: ${hint}.`, {
      cause
    })
  }
}
