/** The parts of a serving Secret, each read and checked alone: a CA, a CA's certificate, a server certificate. */
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readAlternativeNames, subjectAlternativeNameOid } from '../x509/alternative-names.ts'
import { basicConstraintsOf, type Certificate, readCertificate } from '../x509/certificate.ts'
import { DerError } from '../x509/der.ts'
import { encodePem, readPem } from '../x509/pem.ts'

/** Certificate of a CA. */
export interface Anchor {
  /** PEM, this certificate alone. */
  pem: string
  certificate: Certificate
  commonName: string
  publicKey: KeyObject
}

/** A CA that can sign. */
export interface Authority extends Anchor {
  privateKey: KeyObject
}

export interface ServingLeaf {
  /** PEM: the server certificate, then what is sent along. */
  chain: string
  certificate: Certificate
  dnsNames: string[]
  privateKey: KeyObject
}

/** What was expected and what was found, beginning with what it is about. Never the text that was found. */
export class PartError extends Error {
  readonly code = 'PartUnusable'

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'PartError'
  }
}

/** Throws {@link PartError}. */
export function readAnchor(pem: string): Anchor {
  const [certificate, ...others] = certificatesIn(pem)
  if (certificate === undefined || others.length > 0) {
    throw new PartError(`expected one certificate, found ${others.length + (certificate ? 1 : 0)}`)
  }
  if (!basicConstraintsOf(certificate).isAuthority) {
    throw new PartError('expected the certificate of a CA, found another kind')
  }
  const { subject } = new X509Certificate(certificate.der)
  const commonName = /^CN=([ -~]+)$/.exec(subject ?? '')?.[1]
  // A successor is certified under this name; one that we did not write could not be repeated byte for byte.
  if (commonName === undefined) throw new PartError('expected a CA that Rayguard has made')
  return {
    pem: encodePem('CERTIFICATE', certificate.der),
    certificate,
    commonName,
    publicKey: publicKeyOf(certificate)
  }
}

/** Throws {@link PartError}. */
export function readAuthority(pem: string, privateKeyPem: string): Authority {
  const anchor = readAnchor(pem)
  return { ...anchor, privateKey: readKey(privateKeyPem, anchor.certificate) }
}

/** Throws {@link PartError}. */
export function readLeaf(chain: string, privateKeyPem: string): ServingLeaf {
  const certificates = certificatesIn(chain)
  const [certificate] = certificates
  if (certificate === undefined) throw new PartError('expected a certificate, found none')
  const names = certificate.extensions.get(subjectAlternativeNameOid)
  return {
    chain: certificates.map(({ der }) => encodePem('CERTIFICATE', der)).join(''),
    certificate,
    dnsNames: (names && readAlternativeNames(names.value)?.dnsNames) ?? [],
    privateKey: readKey(privateKeyPem, certificate)
  }
}

export function keyText(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** All certificates of a text that holds nothing else. Throws {@link PartError}. */
export function certificatesIn(pem: string): Certificate[] {
  const blocks = readPem(pem)
  if (blocks === undefined) throw new PartError('expected PEM certificates, found a damaged block')
  const foreign = blocks.find(({ label }) => label !== 'CERTIFICATE')
  if (foreign)
    throw new PartError(
      `expected PEM certificates and nothing else, found a block "${foreign.label}"`
    )
  return blocks.map(({ der }, at) => {
    try {
      // OpenSSL has to agree: it is what serves them.
      new X509Certificate(der)
      return readCertificate(der)
    } catch (cause) {
      const why = cause instanceof DerError ? cause.message : 'OpenSSL does not take it.'
      throw new PartError(`certificate ${at + 1} cannot be read: ${why}`)
    }
  })
}

function publicKeyOf({ publicKey }: Certificate): KeyObject {
  return createPublicKey({ key: Buffer.from(publicKey), type: 'spki', format: 'der' })
}

/** Without the cause: the text that it failed on is a key. */
function readKey(pem: string, certificate: Certificate): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    throw new PartError('expected an unencrypted PEM private key, found something else')
  }
  if (!createPublicKey(key).equals(publicKeyOf(certificate))) {
    throw new PartError('expected the private key of the certificate, found another key')
  }
  return key
}
