import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import type { TerminationMessage } from '../contract/enrollment.ts'
import { type Certificate, keyIdentifierOf, readCertificate } from '../x509/certificate.ts'
import { DerError } from '../x509/der.ts'
import { canonicalAddress } from '../x509/names.ts'
import { encodePem, readPem } from '../x509/pem.ts'
import { authorityKeySha256, oneOfEach } from '../x509/same-authority.ts'

export interface CheckInput {
  /** PEM, leaf first. */
  certificate: string
  /** PEM. */
  trustAnchors: string
  privateKey: KeyObject
  podIPs: string[]
  now: number
}

export type Check =
  | { usable: true; pair: CheckedPair }
  | { usable: false; code: CheckCode; detail: string }

export interface CheckedPair {
  /** PEM of what was checked and of nothing else. */
  certificate: string
  trustAnchors: string
  leaf: X509Certificate
  summary: TerminationMessage
}

export type CheckCode =
  | 'CertificateMalformed'
  | 'CertificateKey'
  | 'CertificateChain'
  | 'CertificateNames'
  | 'CertificateUsage'
  | 'CertificateDates'

/**
 * Whether Ray can work with this pair. Each check stands for a failure that Ray tells late and badly: a node that joins
 * and then hangs, or a start that never ends.
 */
export function checkPair(input: CheckInput): Check {
  const chain = readCertificates(input.certificate)
  const anchors = readCertificates(input.trustAnchors)
  const [leaf] = chain ?? []
  if (!chain || !anchors || !leaf) {
    return no(
      'CertificateMalformed',
      'The certificate or the trust anchor is not PEM of certificates.'
    )
  }
  const { now } = input
  const trusted = onceEach(anchors, now)
  const vouching = trusted.filter(anchor => chain.some(isIssuedBy(anchor)))
  const signing = vouching.find(each => isInForce(each, now)) ?? vouching[0] ?? leaf
  const fault =
    checkKey(leaf, input.privateKey) ??
    checkChain(chain, vouching) ??
    checkNamesakes(chain, trusted) ??
    checkDates([...chain, signing], now) ??
    checkUsage(leaf) ??
    checkNames(leaf, input.podIPs)
  if (fault !== undefined) return fault
  const signingKey = keyFingerprintOf(signing)
  return {
    usable: true,
    pair: {
      certificate: encodeCertificates(chain),
      trustAnchors: encodeCertificates(trusted),
      leaf,
      summary: {
        serialNumber: leaf.serialNumber.toLowerCase(),
        notAfter: new Date(leaf.validTo).toISOString(),
        anchorSha256: fingerprintOf(signing),
        ...(signingKey === undefined ? {} : { anchorKeySha256: signingKey }),
        trustedSha256: trusted.map(fingerprintOf),
        // By its key only what lasts: later ones of the CA would be refused when this certificate of it has ended.
        trustedKeySha256: trusted
          .filter(lastsAsLongAs(leaf))
          .flatMap(each => keyFingerprintOf(each) ?? [])
      }
    }
  }
}

/** The certificates of a PEM text that holds nothing else, or `undefined`. */
export function readCertificates(pem: string): X509Certificate[] | undefined {
  const blocks = readPem(pem)
  if (blocks === undefined || blocks.length === 0) return undefined
  if (blocks.some(block => block.label !== 'CERTIFICATE')) return undefined
  try {
    return blocks.map(block => new X509Certificate(block.der))
  } catch {
    return undefined
  }
}

/** The addresses among a certificate's names, canonical. */
export function addressesOf(certificate: X509Certificate): string[] {
  return namesOf(certificate).flatMap(({ kind, value }) =>
    kind === 'IP Address' ? (canonicalAddress(value) ?? []) : []
  )
}

export function dnsNamesOf(certificate: X509Certificate): string[] {
  return namesOf(certificate).flatMap(({ kind, value }) => (kind === 'DNS' ? value : []))
}

function namesOf(certificate: X509Certificate): { kind: string; value: string }[] {
  // Node puts a name into quotes where it holds a comma, so that it cannot pass for two (CVE-2021-44532).
  const written = certificate.subjectAltName?.match(/(?:"(?:\\.|[^"\\])*"|[^,"])+/g) ?? []
  return written.map(name => {
    const [kind = '', ...rest] = name.trim().split(':')
    return { kind, value: rest.join(':') }
  })
}

function no(code: CheckCode, detail: string): Check & { usable: false } {
  return { usable: false, code, detail }
}

type Fault = ReturnType<typeof no> | undefined

function checkKey(leaf: X509Certificate, privateKey: KeyObject): Fault {
  if (leaf.checkPrivateKey(privateKey)) return undefined
  return no('CertificateKey', 'The certificate is for another key than the one that was asked for.')
}

/** gRPC cuts every connection whose client chain is longer than about 8.4 KB, after a handshake that looks fine. */
const longestChainBytes = 8_000

/** In order, each signed by the next, down from a trust anchor: gRPC binds no port with a chain in another order. */
function checkChain(chain: X509Certificate[], vouching: X509Certificate[]): Fault {
  const inOrder = chain.every((certificate, at) => {
    const next = chain[at + 1]
    return next === undefined || isIssuedBy(next)(certificate)
  })
  if (!inOrder || vouching.length === 0) {
    return no('CertificateChain', 'The chain does not lead from the certificate to a trust anchor.')
  }
  const size = chain.reduce((sum, { raw }) => sum + raw.length, 0)
  if (size <= longestChainBytes) return undefined
  return no('CertificateChain', `The chain has ${size} bytes; gRPC can use ${longestChainBytes}.`)
}

/** gRPC looks for the issuer by name and key identifier, and looks no further when that one has another key. */
function checkNamesakes(chain: X509Certificate[], anchors: X509Certificate[]): Fault {
  const isNamesake = (anchor: X509Certificate) =>
    chain.some(each => each.checkIssued(anchor) && !each.verify(anchor.publicKey))
  const namesake = anchors.find(isNamesake)
  if (namesake === undefined) return undefined
  return no(
    'CertificateChain',
    `Two trust anchors could be the issuer by name and key identifier, and ${fingerprintOf(namesake)} has another key.`
  )
}

function isIssuedBy(issuer: X509Certificate): (certificate: X509Certificate) => boolean {
  return certificate =>
    issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function checkDates(chain: X509Certificate[], now: number): Fault {
  const outside = chain.find(certificate => !isInForce(certificate, now))
  if (outside === undefined) return undefined
  return no(
    'CertificateDates',
    `A certificate of the chain is valid ${period(outside)}; this node's clock says ${new Date(now).toISOString()}.`
  )
}

function isInForce(certificate: X509Certificate, now: number): boolean {
  return Date.parse(certificate.validFrom) <= now && now < Date.parse(certificate.validTo)
}

function lastsAsLongAs({ validTo }: X509Certificate): (anchor: X509Certificate) => boolean {
  return anchor => Date.parse(anchor.validTo) >= Date.parse(validTo)
}

function period(certificate: X509Certificate): string {
  return `from ${certificate.validFrom} to ${certificate.validTo}`
}

const serverAuthentication = '1.3.6.1.5.5.7.3.1'
const clientAuthentication = '1.3.6.1.5.5.7.3.2'

/** One pair is a node's server and client identity at once; with one usage missing it joins and its tasks hang. */
function checkUsage(leaf: X509Certificate): Fault {
  const usages = leaf.keyUsage ?? []
  if (leaf.ca) return no('CertificateUsage', 'The certificate is that of a CA.')
  if (usages.includes(serverAuthentication) && usages.includes(clientAuthentication))
    return undefined
  return no('CertificateUsage', 'The certificate is not for server and client authentication both.')
}

/** Ray connects to its own node by the pod's address, by 127.0.0.1 and by localhost, and to others by their address. */
function checkNames(leaf: X509Certificate, podIPs: string[]): Fault {
  const missing = [...podIPs, '127.0.0.1'].filter(address => leaf.checkIP(address) === undefined)
  if (leaf.checkHost('localhost', { subject: 'never' }) === undefined) missing.push('localhost')
  if (missing.length === 0) return undefined
  return no(
    'CertificateNames',
    `The certificate lacks ${missing.join(', ')}; it holds ${leaf.subjectAltName ?? 'no name'}.`
  )
}

function fingerprintOf({ raw }: X509Certificate): string {
  return createHash('sha256').update(raw).digest('hex')
}

/**
 * Of each CA one certificate. Ray reads them once: when one of two has ended, gRPC may come upon that one, look no further,
 * and refuse every peer.
 */
function onceEach(anchors: readonly X509Certificate[], now: number): X509Certificate[] {
  const read = new Map(anchors.map(each => [each, readAnchor(each)]))
  const kept = oneOfEach(
    [...read.values()].flatMap(each => each ?? []),
    now
  )
  return anchors.filter(each => {
    const certificate = read.get(each)
    return certificate === undefined || kept.includes(certificate)
  })
}

function keyFingerprintOf(anchor: X509Certificate): string | undefined {
  const certificate = readAnchor(anchor)
  return certificate && authorityKeySha256(certificate)
}

/** `undefined` where our own reader, which is stricter than OpenSSL, does not take it: then it is known by its bytes alone. */
function readAnchor({ raw }: X509Certificate): Certificate | undefined {
  try {
    const certificate = readCertificate(raw)
    keyIdentifierOf(certificate)
    return certificate
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}

function encodeCertificates(certificates: X509Certificate[]): string {
  return certificates.map(certificate => encodePem('CERTIFICATE', certificate.raw)).join('')
}
