/**
 * Reads the certificates of a CA: which one issues, how they follow each other, and whether pods could use the result.
 *
 * Decides at load what would otherwise fail late and badly, in every pod at once: gRPC says no more than "Socket closed"
 * for most of it. It never looks for certificates elsewhere.
 */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import {
  basicConstraintsOf,
  type Certificate,
  isSignedBy,
  keyIdentifierOf,
  nameConstraintsOf,
  readCertificate,
  verificationKey
} from './certificate.ts'
import { type ChainCheck, type ChainCheckCode, checkChain, purposeWarnings } from './check-chain.ts'
import { DerError } from './der.ts'
import { encodePem, readPem } from './pem.ts'
import { equalBytes } from './public-key.ts'
import { authorityKeySha256, bestFirst, isInForce } from './same-authority.ts'

export interface Chain {
  /** The issuing CA first, each one signed by the next. */
  certificates: Certificate[]
  issuing: Certificate
  /** Named with them: other certificates of their keys, and what is above those; where it was told, what is not in force. */
  beside: Certificate[]
  publicKey: KeyObject
  /** The issuing CA's subjectKeyIdentifier. */
  keyIdentifier: Uint8Array | undefined
  pathLength: number | undefined
  /** For people. */
  subject: string
  /** The latest beginning and the earliest end in the whole chain, unless somebody has told it: then those of the issuing CA. */
  notBefore: Date
  notAfter: Date
  /** PEM of the issuing CA alone: what pods trust. */
  trustAnchor: string
  /** Of its DER, lower-case hexadecimal. */
  anchorSha256: string
  /** The same for each certificate of this CA that has this key. */
  anchorKeySha256: string
  /** What keeps no pod from using it. */
  warnings: string[]
  /** Whether the name constraints of all certificates let a host name through. */
  permits(dnsName: string): boolean
}

export type ChainReading =
  | { usable: true; chain: Chain; checks: ChainCheck[] }
  | { usable: false; chain?: Chain; checks: ChainCheck[] }

export interface ChainOptions {
  now: Date
  /** Such as `cluster.local`: with it, constraints must allow the names of head services. */
  clusterDomain?: string
}

const maximumCertificates = 10

/** All checks with their results; usable when none of them has failed. Never throws on the input. */
export function readChain(pem: string, options: ChainOptions): ChainReading {
  const found = certificates(pem)
  if (typeof found === 'string') return broken('Readable', found)
  const ordered = inOrder(found, options.now.getTime())
  if (ordered === undefined) {
    return broken('Order', 'The certificates do not form one chain, each signed by the next.')
  }
  try {
    return judge(ordered, found, options)
  } catch (error) {
    if (error instanceof DerError) return broken('Readable', `An extension: ${error.message}`)
    throw error
  }
}

function judge(
  ordered: Certificate[],
  found: readonly Certificate[],
  options: ChainOptions
): ChainReading {
  const chain = describe(ordered, found)
  if (chain === undefined) return broken('Key', 'OpenSSL does not take the key of the issuing CA.')
  const checks = [
    passed('Readable', 'The certificates are well-formed'),
    passed('Order', 'They form one chain'),
    ...checkChain(chain, options)
  ]
  return { usable: checks.every(({ problem }) => problem === undefined), chain, checks }
}

function passed(code: ChainCheckCode, title: string): ChainCheck {
  return { code, title, problem: undefined }
}

function broken(code: ChainCheckCode, problem: string): ChainReading {
  const title = code === 'Readable' ? 'The certificates are well-formed' : 'They form one chain'
  return { usable: false, checks: [{ code, title, problem }] }
}

/** Without duplicates, in the order of the file; or what is wrong. */
function certificates(pem: string): Certificate[] | string {
  const blocks = readPem(pem)
  if (blocks === undefined) return 'A PEM block is damaged.'
  const foreign = blocks.find(({ label }) => label !== 'CERTIFICATE')
  if (foreign) return `Only certificates were expected; there is a block "${foreign.label}".`
  if (blocks.length === 0) return 'A certificate in PEM was expected; there is none.'
  if (blocks.length > maximumCertificates) return `There are more than ${maximumCertificates}.`
  const found: Certificate[] = []
  for (const [at, { der }] of blocks.entries()) {
    if (found.some(known => equalBytes(known.der, der))) continue
    if (!opensslReads(der)) return `Certificate ${at + 1}: OpenSSL does not take it.`
    try {
      found.push(readCertificate(der))
    } catch (error) {
      if (error instanceof DerError) return `Certificate ${at + 1}: ${error.message}`
      throw error
    }
  }
  return found
}

function opensslReads(der: Uint8Array): boolean {
  try {
    return new X509Certificate(der).publicKey !== undefined
  } catch {
    return false
  }
}

/**
 * The lowest one first. `undefined` when more than one has nothing below it, or some have nothing to do with it: a CA that was
 * renewed with its key, or is cross-signed, may be named twice.
 */
function inOrder(found: readonly Certificate[], now: number): Certificate[] | undefined {
  const best = bestFirst(found, now)
  const [lowest, ...others] = best.filter(each => issuedBy(each, best).length === 0)
  if (lowest === undefined || !others.every(hasKeyOf(lowest))) return undefined
  const above = [lowest]
  for (const each of above) {
    const isNext = (other: Certificate) => hasKeyOf(each)(other) || issued(other, each)
    above.push(...best.filter(other => !above.includes(other) && isNext(other)))
  }
  return above.length === found.length ? pathFrom(lowest, best, now) : undefined
}

/**
 * The lowest one and those above it, each signed by the next, as far as they are among those found. Of one key one
 * certificate, since a CA that was renewed with its key is not above itself: one in force, and one that leads on to what is
 * in force, if any does. `now` is in milliseconds since the epoch.
 */
export function pathFrom(
  lowest: Certificate,
  found: readonly Certificate[],
  now: number
): Certificate[] {
  const best = bestFirst(found, now)
  const usable = best.filter(each => isInForce(each, now))
  const path: Certificate[] = []
  for (let next: Certificate | undefined = lowest; next !== undefined; ) {
    path.push(next)
    const candidates: Certificate[] = issuersOf(next, best).filter(
      each => !path.some(hasKeyOf(each))
    )
    const inForce = candidates.filter(each => usable.includes(each))
    next =
      inForce.find(each => issuersOf(each, usable).length > 0) ??
      inForce.find(each => issuersOf(each, best).length === 0) ??
      candidates[0]
  }
  return path
}

function issuersOf(certificate: Certificate, found: readonly Certificate[]): Certificate[] {
  return found.filter(each => !hasKeyOf(certificate)(each) && issued(each, certificate))
}

function issuedBy(issuer: Certificate, found: readonly Certificate[]): Certificate[] {
  return found.filter(each => !hasKeyOf(issuer)(each) && issued(issuer, each))
}

function hasKeyOf(one: Certificate): (other: Certificate) => boolean {
  return other => equalBytes(one.publicKey, other.publicKey)
}

/** By name and signature. */
export function issued(issuer: Certificate, certificate: Certificate): boolean {
  if (!equalBytes(issuer.subject, certificate.issuer)) return false
  const key = verificationKey(issuer.publicKey)
  return key !== undefined && isSignedBy(certificate, key)
}

function describe(ordered: Certificate[], found: readonly Certificate[]): Chain | undefined {
  const [issuing] = ordered
  const publicKey = issuing && verificationKey(issuing.publicKey)
  if (issuing === undefined || publicKey === undefined) return undefined
  const constraints = ordered.flatMap(certificate => nameConstraintsOf(certificate) ?? [])
  const times = (field: 'notBefore' | 'notAfter') => ordered.map(each => each[field].getTime())
  return {
    certificates: ordered,
    issuing,
    beside: found.filter(each => !ordered.includes(each)),
    publicKey,
    keyIdentifier: keyIdentifierOf(issuing),
    pathLength: basicConstraintsOf(issuing).pathLength,
    subject: subjectText(issuing.der),
    notBefore: new Date(Math.max(...times('notBefore'))),
    notAfter: new Date(Math.min(...times('notAfter'))),
    trustAnchor: encodePem('CERTIFICATE', issuing.der),
    warnings: purposeWarnings(ordered),
    anchorSha256: createHash('sha256').update(issuing.der).digest('hex'),
    anchorKeySha256: authorityKeySha256(issuing),
    permits: name =>
      constraints.every(
        ({ permittedDns, excludedDns }) =>
          (permittedDns.length === 0 || permittedDns.some(tree => isWithin(name, tree))) &&
          !excludedDns.some(tree => isWithin(name, tree))
      )
  }
}

/** SHA-256 in colons, as openssl prints it. */
export function fingerprint(der: Uint8Array): string {
  const digest = createHash('sha256').update(der).digest('hex').toUpperCase()
  return digest.replace(/..(?=.)/g, '$&:')
}

export function subjectText(der: Uint8Array): string {
  return new X509Certificate(der).subject?.split('\n').join(', ') ?? ''
}

/** RFC 5280 §4.2.1.10: a subtree is a name and all below it; some write it with a leading dot. */
function isWithin(name: string, tree: string): boolean {
  return tree === '' || name === tree || name.endsWith(tree.startsWith('.') ? tree : `.${tree}`)
}
