/**
 * Which public keys may be in a certificate: P-256, P-384, RSA with 2048 to 4096 bits and the exponent 65537.
 *
 * The shape is checked byte by byte before OpenSSL sees the key, so that a key of an odd size costs nothing. Ed25519 is
 * refused because gRPC's TLS cannot use it.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import {
  DerError,
  nullValue,
  objectIdentifier,
  readElement,
  readElements,
  readUnsignedInteger,
  sequence,
  tags
} from './der.ts'

export type PublicKeyAlgorithm = 'P-256' | 'P-384' | 'RSA'

export type PublicKeyReading =
  | { allowed: true; algorithm: PublicKeyAlgorithm; key: KeyObject }
  | { allowed: false; reason: string }

// AlgorithmIdentifiers (RFC 5480 §2.1.1, RFC 3279 §2.3.1): one spelling each, so they are compared as bytes.
const ecPublicKey = objectIdentifier('1.2.840.10045.2.1')
const curves = [
  {
    algorithm: 'P-256',
    identifier: sequence(ecPublicKey, objectIdentifier('1.2.840.10045.3.1.7')),
    pointBytes: 65
  },
  {
    algorithm: 'P-384',
    identifier: sequence(ecPublicKey, objectIdentifier('1.3.132.0.34')),
    pointBytes: 97
  }
] as const
const rsaEncryption = sequence(objectIdentifier('1.2.840.113549.1.1.1'), nullValue())

/** Reads DER, SubjectPublicKeyInfo, and opens the key. Throws DerError when the bytes are not that at all. */
export function readPublicKey(spki: Uint8Array): PublicKeyReading {
  const shape = readShape(spki)
  return 'reason' in shape ? { allowed: false, reason: shape.reason } : opened(shape)
}

/** The algorithm of an allowed key, by its shape alone (some microseconds); otherwise `undefined`. Throws DerError. */
export function publicKeyAlgorithm(spki: Uint8Array): PublicKeyAlgorithm | undefined {
  const shape = readShape(spki)
  return 'reason' in shape ? undefined : shape.algorithm
}

type Shape = { algorithm: PublicKeyAlgorithm; jwk: () => JsonWebKey } | { reason: string }

function readShape(spki: Uint8Array): Shape {
  const { identifier, bits } = keyParts(spki)
  if (equalBytes(identifier, rsaEncryption)) {
    const [modulus, exponent] = rsaNumbers(bits)
    const reason = rsaProblem(modulus, exponent)
    if (reason !== undefined) return { reason }
    const jwk = () => ({ kty: 'RSA', n: base64url(modulus), e: base64url(exponent) })
    return { algorithm: 'RSA', jwk }
  }
  const curve = curves.find(known => equalBytes(identifier, known.identifier))
  if (curve === undefined) return { reason: 'The key algorithm is not known here.' }
  // 4 = uncompressed (SEC 1 §2.3.3); a compressed point is another spelling of the same key.
  if (bits.length !== curve.pointBytes || bits[0] !== 4) {
    return { reason: 'The point of the key is not an uncompressed one.' }
  }
  const middle = (1 + curve.pointBytes) / 2
  const x = bits.subarray(1, middle)
  const y = bits.subarray(middle)
  const jwk = () => ({ kty: 'EC', crv: curve.algorithm, x: base64url(x), y: base64url(y) })
  return { algorithm: curve.algorithm, jwk }
}

/** The content of subjectPublicKey, which key identifiers are made of. Throws DerError. */
export function publicKeyBits(spki: Uint8Array): Uint8Array {
  return keyParts(spki).bits
}

export function equalBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && Buffer.compare(one, other) === 0
}

function keyParts(spki: Uint8Array): { identifier: Uint8Array; bits: Uint8Array } {
  const [identifier, bits, ...others] = readElements(readElement(spki, tags.sequence).content)
  if (identifier?.tag !== tags.sequence || bits?.tag !== tags.bitString || others.length > 0) {
    throw new DerError('A public key is an algorithm and a bit string.')
  }
  if (bits.content[0] !== 0) throw new DerError('A public key fills whole bytes.')
  return { identifier: identifier.whole, bits: bits.content.subarray(1) }
}

/** Modulus and exponent without sign bytes. */
function rsaNumbers(bits: Uint8Array): [Uint8Array, Uint8Array] {
  const [modulus, exponent, ...others] = readElements(readElement(bits, tags.sequence).content)
  if (modulus?.tag !== tags.integer || exponent?.tag !== tags.integer || others.length > 0) {
    throw new DerError('An RSA key is a modulus and an exponent.')
  }
  return [readUnsignedInteger(modulus.content), readUnsignedInteger(exponent.content)]
}

function rsaProblem(modulus: Uint8Array, exponent: Uint8Array): string | undefined {
  const size = modulus.length * 8 - (Math.clz32(modulus[0] ?? 0) - 24)
  if (size < 2048 || size > 4096) return `The RSA key has ${size} bits.`
  if (((modulus.at(-1) ?? 0) & 1) === 0) return 'The modulus of the RSA key is even.'
  if (!equalBytes(exponent, Uint8Array.of(1, 0, 1))) {
    return 'The exponent of the RSA key is not 65537.'
  }
  return undefined
}

/**
 * OpenSSL refuses a point that is not on its curve here (invalid-curve attacks). By way of a JWK because Node opens that
 * in half the time of the same key in DER.
 */
function opened({ algorithm, jwk }: Exclude<Shape, { reason: string }>): PublicKeyReading {
  try {
    return { allowed: true, algorithm, key: createPublicKey({ key: jwk(), format: 'jwk' }) }
  } catch {
    return { allowed: false, reason: 'The key is not a valid one of its kind.' }
  }
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}
