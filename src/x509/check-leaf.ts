/**
 * Judges a certificate that an authority made, ours or somebody else's, before a pod or a client gets it.
 *
 * Decides whether it is exactly what was asked for and whether gRPC can use it. It never repairs; any problem means that
 * the certificate is not handed out. The whole path is checked too (`check-path.ts`), since a pod trusts the anchor alone.
 */
import {
  basicConstraintsOf,
  type Certificate,
  extendedKeyUsageOf,
  extensionOids,
  keyUsageOf,
  namesOf,
  readCertificate
} from './certificate.ts'
import { type Issuer, issuerOf, pathProblems } from './check-path.ts'
import { DerError } from './der.ts'
import { type LeafProblem, problem } from './leaf-problem.ts'
import { type CertificateNames, equalNames } from './names.ts'
import { readPem } from './pem.ts'
import { equalBytes } from './public-key.ts'
import { clientCommonName, isSubjectOf } from './subject.ts'

export interface IssuedChain {
  /** PEM, leaf first. */
  certificate: string
  /** PEM. */
  trustAnchors: string
}

export interface LeafExpectation {
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  /** Canonical. */
  names: CertificateNames
  /** For a client outside the pods. */
  purpose?: 'client' | undefined
  now: Date
  /** What is left of it now. Default 0. */
  minimumLifetimeSeconds?: number
  maximumLifetimeSeconds: number
}

/** What gRPC's peers can send before calls die after a handshake that looked fine: some 8 400 bytes, measured. */
export const maximumChainBytes = 8000
const maximumCertificates = 10
/** What a remote authority's clock may be ahead. */
const clockSkewMs = 5 * 60 * 1000

export type LeafCheck = (issued: IssuedChain, expected: LeafExpectation) => LeafProblem[]

const rememberedAnchors = 64

/** All problems found; none means good. Never throws on the input. For many certificates see {@link createLeafCheck}. */
export const checkLeaf: LeafCheck = (issued, expected) => createLeafCheck()(issued, expected)

/** The same, remembering trust anchors: to open an anchor's key takes as long as everything else. */
export function createLeafCheck(): LeafCheck {
  const remembered = new Map<string, Issuer[] | undefined>()

  function anchorsOf(pem: string): Issuer[] | undefined {
    const known = remembered.get(pem)
    if (known !== undefined) return known
    if (remembered.size >= rememberedAnchors) remembered.clear()
    const anchors = certificates(pem)?.map(issuerOf)
    remembered.set(pem, anchors)
    return anchors
  }

  return (issued, expected) => {
    try {
      const [leaf, ...intermediates] = certificates(issued.certificate) ?? []
      const anchors = anchorsOf(issued.trustAnchors)
      if (leaf === undefined || anchors === undefined || anchors.length === 0) {
        return [problem('Malformed', 'The chain or the anchors are not certificates in PEM.')]
      }
      return [
        ...leafProblems(leaf, expected),
        ...sizeProblems([leaf, ...intermediates]),
        ...pathProblems(leaf, intermediates, anchors, expected.now)
      ]
    } catch (error) {
      if (error instanceof DerError) return [problem('Malformed', error.message)]
      throw error
    }
  }
}

/** Throws DerError. */
function certificates(pem: string): Certificate[] | undefined {
  const blocks = readPem(pem)
  if (blocks === undefined || blocks.length > maximumCertificates) return undefined
  if (blocks.some(({ label }) => label !== 'CERTIFICATE')) return undefined
  return blocks.map(({ der }) => readCertificate(der))
}

function* leafProblems(leaf: Certificate, expected: LeafExpectation): Generator<LeafProblem> {
  if (!equalBytes(leaf.publicKey, expected.publicKey)) {
    yield problem('PublicKey', 'The certificate is for another key.')
  }
  yield* expected.purpose === 'client' ? clientProblems(leaf) : nameProblems(leaf, expected)
  yield* usageProblems(leaf, expected)
  for (const [oid, { critical }] of leaf.extensions) {
    if (critical && !understood.has(oid)) {
      yield problem('CriticalExtension', `The critical extension ${oid} is not known to gRPC.`)
    }
  }
  yield* dateProblems(leaf, expected)
}

function* nameProblems(leaf: Certificate, expected: LeafExpectation): Generator<LeafProblem> {
  // A common name is a name too, and some clients still look at it.
  if (leaf.subject.length !== 2) yield problem('Subject', 'The subject is not empty.')
  const difference = nameDifference(namesOf(leaf), expected.names)
  if (difference !== undefined) {
    yield problem('Names', `The names are not exactly those that the pod may have: ${difference}.`)
  }
  if (!leaf.extensions.get(extensionOids.subjectAlternativeName)?.critical) {
    yield problem('Names', 'The names are not critical although the subject is empty.')
  }
}

function* clientProblems(leaf: Certificate): Generator<LeafProblem> {
  if (!isSubjectOf(leaf.subject, clientCommonName)) {
    yield problem('Subject', `The subject is not that of every client (CN=${clientCommonName}).`)
  }
  if (leaf.extensions.has(extensionOids.subjectAlternativeName)) {
    yield problem('Names', 'A client has names that a server could have.')
  }
}

const shownNames = 5

/** For people: an administrator looks for the name that a back end has added or dropped. */
function nameDifference(
  found: CertificateNames | undefined,
  expected: CertificateNames
): string | undefined {
  if (found === undefined) return 'there are none, or other kinds than host names and addresses'
  const [had, wanted] = [found, expected].map(names => [...names.dnsNames, ...names.ipAddresses])
  if (had?.length === wanted?.length && equalNames(found, expected)) return undefined
  const listed = (names: string[]) => names.slice(0, shownNames).join(' ')
  const added = had?.filter(name => !wanted?.includes(name)) ?? []
  const missing = wanted?.filter(name => !had?.includes(name)) ?? []
  const parts = [
    ...(added.length > 0 ? [`added ${listed(added)}`] : []),
    ...(missing.length > 0 ? [`missing ${listed(missing)}`] : [])
  ]
  return parts.length > 0 ? parts.join(', ') : 'one of them is there twice'
}

const understood = new Set<string>([
  extensionOids.keyUsage,
  extensionOids.extendedKeyUsage,
  extensionOids.basicConstraints,
  extensionOids.subjectAlternativeName
])
const clientPurposes = [{ name: 'clientAuth', oid: '1.3.6.1.5.5.7.3.2' }]
const podPurposes = [{ name: 'serverAuth', oid: '1.3.6.1.5.5.7.3.1' }, ...clientPurposes]
/** digitalSignature, keyEncipherment, keyAgreement: a pod's key may do what TLS does, and sign nothing else. */
const tlsKeyUsages = new Set([0, 2, 4])

function* usageProblems(leaf: Certificate, { purpose }: LeafExpectation): Generator<LeafProblem> {
  const usages = keyUsageOf(leaf)
  if (!usages?.has(0) || [...usages].some(usage => !tlsKeyUsages.has(usage))) {
    yield problem('KeyUsage', 'The key usage is not digitalSignature (and what TLS needs).')
  }
  const purposes = extendedKeyUsageOf(leaf)
  const wanted = purpose === 'client' ? clientPurposes : podPurposes
  if (purposes?.size !== wanted.length || !wanted.every(({ oid }) => purposes.has(oid))) {
    const names = wanted.map(({ name }) => name).join(' and ')
    yield problem('ExtendedKeyUsage', `The purposes are not exactly ${names}.`)
  }
  if (basicConstraintsOf(leaf).isAuthority) {
    yield problem('BasicConstraints', 'The certificate is a CA.')
  }
}

function* dateProblems(leaf: Certificate, expected: LeafExpectation): Generator<LeafProblem> {
  const now = expected.now.getTime()
  // A certificate from the future fails in every peer whose clock is a little behind.
  if (leaf.notBefore.getTime() > now || leaf.notAfter.getTime() <= now) {
    yield problem('Dates', 'The certificate is not valid now.')
  }
  const soonest = now + (expected.minimumLifetimeSeconds ?? 0) * 1000
  if (leaf.notAfter.getTime() > now && leaf.notAfter.getTime() < soonest) {
    yield problem('Lifetime', 'The certificate ends sooner than is of use.')
  }
  const latest = now + expected.maximumLifetimeSeconds * 1000 + clockSkewMs
  if (leaf.notAfter.getTime() > latest) {
    yield problem('Lifetime', 'The certificate is valid for longer than was asked.')
  }
}

function* sizeProblems(chain: Certificate[]): Generator<LeafProblem> {
  const bytes = chain.reduce((sum, { der }) => sum + der.length, 0)
  if (bytes > maximumChainBytes) {
    yield problem('ChainTooLarge', `The chain has ${bytes} bytes; gRPC fails above 8400.`)
  }
}
