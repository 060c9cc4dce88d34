/**
 * Makes CA certificates for `rayguard ca init`: a root, or a certificate that a root signs for an intermediate.
 *
 * Decides their form; never where they are kept. Keys, serial numbers and dates are the caller's.
 */
import type { KeyObject } from 'node:crypto'
import { signatureAlgorithmOf } from './algorithms.ts'
import { objectIdentifier, sequence, set, utf8String } from './der.ts'
import { keyIdentifier } from './leaf.ts'
import { webCrypto, x509 } from './library.ts'
import type { KeyPair } from './new-key.ts'
import { encodePem } from './pem.ts'

export interface AuthorityCertificateRequest {
  commonName: string
  keys: KeyPair
  /** How many CAs may follow below it. Two CAs with the same name are told apart by their key identifiers. */
  pathLength: number
  /** 16 random bytes. */
  serialNumber: Uint8Array
  notBefore: Date
  notAfter: Date
  /** Whose key signs it; the CA's own when there is none. */
  issuer?: { commonName: string; keys: KeyPair }
}

/** PEM of the certificate. Throws TypeError for a kind of key that is not P-256, P-384 or RSA. */
export async function createAuthorityCertificate(
  request: AuthorityCertificateRequest
): Promise<string> {
  const issuer = request.issuer ?? request
  const algorithm = signingAlgorithm(issuer.keys.privateKey)
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: Buffer.from(request.serialNumber).toString('hex'),
      subject: commonNameAlone(request.commonName),
      issuer: commonNameAlone(issuer.commonName),
      notBefore: request.notBefore,
      notAfter: request.notAfter,
      publicKey: new Uint8Array(subjectPublicKey(request.keys)),
      signingKey: await webCrypto.subtle.importKey(
        'pkcs8',
        issuer.keys.privateKey.export({ type: 'pkcs8', format: 'der' }),
        algorithm,
        false,
        ['sign']
      ),
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(true, request.pathLength, true),
        new x509.KeyUsagesExtension(
          x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
          true
        ),
        new x509.SubjectKeyIdentifierExtension(identifier(request.keys)),
        new x509.AuthorityKeyIdentifierExtension(identifier(issuer.keys))
      ]
    },
    webCrypto
  )
  return encodePem('CERTIFICATE', new Uint8Array(certificate.rawData))
}

/** In DER: in the library's own notation quotes and commas of a name would mean something. */
function commonNameAlone(commonName: string): x509.Name {
  const attribute = sequence(objectIdentifier('2.5.4.3'), utf8String(commonName))
  return new x509.Name(new Uint8Array(sequence(set(attribute))))
}

function subjectPublicKey(keys: KeyPair): Buffer {
  return keys.publicKey.export({ type: 'spki', format: 'der' })
}

function identifier(keys: KeyPair): string {
  return Buffer.from(keyIdentifier(subjectPublicKey(keys))).toString('hex')
}

/** In WebCrypto's words. Name and hash are always given: a key that brings its own hash would win silently. */
function signingAlgorithm(
  key: KeyObject
): { name: string; hash: string } & Partial<EcKeyImportParams> {
  const algorithm = signatureAlgorithmOf(key)
  if (algorithm?.keyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  if (algorithm?.keyType !== 'ec') throw new TypeError('A P-256, P-384 or RSA key was expected.')
  return algorithm.hash === 'sha384'
    ? { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
    : { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
}
