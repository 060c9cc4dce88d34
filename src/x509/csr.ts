/**
 * Reads a certificate request (PKCS#10, RFC 2986) as a stranger's: what may be signed is the public key alone.
 *
 * Decides that the request is one well-formed PEM block, that its key is allowed and signed it (proof of possession),
 * and that it asks for nothing but, at most, names. It never decides which names are granted, and copies nothing else.
 */
import { createHash, type KeyObject, verify } from 'node:crypto'
import { signatureAlgorithms } from './algorithms.ts'
import { readAlternativeNames, subjectAlternativeNameOid } from './alternative-names.ts'
import {
  contextTag,
  DerError,
  type Element,
  objectIdentifier,
  readElement,
  readElements,
  tags
} from './der.ts'
import { type CertificateNames, canonicalNames, equalNames } from './names.ts'
import { readSinglePem } from './pem.ts'
import { equalBytes, type PublicKeyAlgorithm, readPublicKey } from './public-key.ts'

export type RequestRefusalCode = 'CsrMalformed' | 'CsrSignature' | 'CsrUnexpected' | 'KeyNotAllowed'

export interface AllowedRequest {
  allowed: true
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  keyAlgorithm: PublicKeyAlgorithm
  /** Lower-case hexadecimal. */
  spkiSha256: string
  /** DER of the whole request. */
  csr: Uint8Array
  /** What it asks for in a subjectAltName, canonical; `undefined` when it asks for no name. */
  names: CertificateNames | undefined
}

export interface RefusedRequest {
  allowed: false
  code: RequestRefusalCode
  reason: string
}

/** An RSA-4096 request with all names of a pod is below 3 KiB. */
const maximumCharacters = 8 * 1024

const extensionRequest = objectIdentifier('1.2.840.113549.1.9.14')
const subjectAlternativeName = objectIdentifier(subjectAlternativeNameOid)

/** Never throws. The cheap checks come first; the signature, which costs most, is the last. */
export function readCertificateRequest(pem: string): AllowedRequest | RefusedRequest {
  if (typeof pem !== 'string' || pem.length > maximumCharacters) {
    return refuse('CsrMalformed', `The request is not text of at most ${maximumCharacters} bytes.`)
  }
  const csr = readSinglePem(pem, 'CERTIFICATE REQUEST')
  if (csr === undefined) {
    return refuse('CsrMalformed', 'The request is not one PEM block CERTIFICATE REQUEST.')
  }
  try {
    return judge(csr)
  } catch (error) {
    if (error instanceof DerError) return refuse('CsrMalformed', error.message)
    throw error
  }
}

function judge(csr: Uint8Array): AllowedRequest | RefusedRequest {
  const request = requestParts(csr)
  if (request.subject.content.length > 0) return refuse('CsrUnexpected', 'It has a subject.')
  const key = readPublicKey(request.publicKey)
  if (!key.allowed) return refuse('KeyNotAllowed', key.reason)
  const asked = requestedNames(request.attributes)
  if (!asked.allowed) return asked
  if (!signedBy(key.key, request)) {
    return refuse('CsrSignature', 'It is not signed by its own key with an algorithm known here.')
  }
  return {
    allowed: true,
    publicKey: request.publicKey,
    keyAlgorithm: key.algorithm,
    spkiSha256: createHash('sha256').update(request.publicKey).digest('hex'),
    csr,
    names: asked.names
  }
}

interface RequestParts {
  information: Uint8Array
  subject: Element
  publicKey: Uint8Array
  /** The content of `attributes`. */
  attributes: Uint8Array
  algorithm: Uint8Array
  signature: Uint8Array
}

/**
 * DER of all that a request asks for, key included (certificationRequestInfo): the same for the same wishes, where the
 * signature is another each time. `undefined` for what is no request.
 */
export function requestInformation(csr: Uint8Array): Uint8Array | undefined {
  try {
    return requestParts(csr).information
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}

/** RFC 2986 §4. */
function requestParts(csr: Uint8Array): RequestParts {
  const [information, algorithm, signature] = fields(
    csr,
    [tags.sequence, tags.sequence, tags.bitString],
    'A request is information, algorithm and signature.'
  )
  const [version, subject, publicKey, attributes] = fields(
    information.whole,
    [tags.integer, tags.sequence, tags.sequence, contextTag(0, 'constructed')],
    'The information is version, subject, key and attributes.'
  )
  if (version.content.length !== 1 || version.content[0] !== 0) {
    throw new DerError('The version of a request is 0.')
  }
  if (signature.content[0] !== 0) throw new DerError('A signature fills whole bytes.')
  return {
    information: information.whole,
    subject,
    publicKey: publicKey.whole,
    attributes: attributes.content,
    algorithm: algorithm.whole,
    signature: signature.content.subarray(1)
  }
}

/** Exactly the fields with these tags. */
function fields<Tags extends readonly number[]>(
  bytes: Uint8Array,
  expected: readonly [...Tags],
  message: string
): { [Index in keyof Tags]: Element } {
  const found = readElements(readElement(bytes, tags.sequence).content, expected.length)
  if (found.length !== expected.length || found.some(({ tag }, at) => tag !== expected[at])) {
    throw new DerError(message)
  }
  return found as { [Index in keyof Tags]: Element }
}

type AskedNames = { allowed: true; names: CertificateNames | undefined }

/**
 * No attribute, or one extensionRequest with one subjectAltName. Anything else (CA:TRUE, other usages, a challenge
 * password, a second attribute of the same kind that another parser would take) is an attack or a fault: it is refused,
 * although nothing but the key would be copied.
 */
function requestedNames(attributes: Uint8Array): AskedNames | RefusedRequest {
  const [attribute, ...otherAttributes] = readElements(attributes)
  if (attribute === undefined) return { allowed: true, names: undefined }
  const [type, values] = fields(
    attribute.whole,
    [tags.objectIdentifier, tags.set],
    'An attribute is a type and values.'
  )
  if (!equalBytes(type.whole, extensionRequest) || otherAttributes.length > 0) {
    return refuse('CsrUnexpected', 'It has an attribute other than one extensionRequest.')
  }
  const [extension, ...otherExtensions] = readElements(
    readElement(values.content, tags.sequence).content
  )
  if (extension === undefined) throw new DerError('An extensionRequest is not empty.')
  if (otherExtensions.length > 0) {
    return refuse('CsrUnexpected', 'It asks for another extension than one subjectAltName.')
  }
  return namesOfExtension(extension)
}

function namesOfExtension(extension: Element): AskedNames | RefusedRequest {
  const [type, ...rest] = readElements(readElement(extension.whole, tags.sequence).content, 3)
  if (type === undefined || !equalBytes(type.whole, subjectAlternativeName)) {
    return refuse('CsrUnexpected', 'It asks for another extension than one subjectAltName.')
  }
  const value = rest.at(-1)
  const critical = rest.length === 2 ? rest[0] : undefined
  // DEFAULT FALSE is not written in DER, and TRUE is 0xff (X.690 §11.1, §11.5).
  const shaped =
    rest.length === 1 ||
    (critical?.tag === tags.boolean &&
      critical.content.length === 1 &&
      critical.content[0] === 0xff)
  if (value?.tag !== tags.octetString || !shaped) {
    throw new DerError('An extension is a type, perhaps TRUE, and a value.')
  }
  const asked = readAlternativeNames(value.content)
  const names = asked === undefined ? undefined : canonicalNames(asked)
  // One spelling: an authority that forwards the request would certify the names as they are spelt here.
  const asSpelt =
    asked !== undefined &&
    names !== undefined &&
    names.dnsNames.length === asked.dnsNames.length &&
    names.ipAddresses.length === asked.ipAddresses.length &&
    equalNames(names, asked)
  return asSpelt
    ? { allowed: true, names }
    : refuse('CsrUnexpected', 'It asks for names other than canonical host names and addresses.')
}

/** Proof of possession (RFC 2986 §4.2): otherwise one could have a certificate for a key of somebody else. */
function signedBy(key: KeyObject, request: RequestParts): boolean {
  const algorithm = Object.values(signatureAlgorithms).find(
    known =>
      known.keyType === key.asymmetricKeyType && equalBytes(known.identifier, request.algorithm)
  )
  if (algorithm === undefined) return false
  try {
    return verify(algorithm.hash, request.information, key, request.signature)
  } catch {
    return false
  }
}

function refuse(code: RequestRefusalCode, reason: string): RefusedRequest {
  return { allowed: false, code, reason }
}
