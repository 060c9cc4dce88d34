/**
 * Judges the CA of one Ray cluster that an authority signed, ours or somebody else's, before anything is signed with it.
 *
 * Decides whether it is what was asked for: our key, our name, able to sign pods and nothing more, and usable by gRPC as
 * the only thing that pods trust. It never repairs.
 */
import {
  basicConstraintsOf,
  type Certificate,
  extendedKeyUsageOf,
  extensionOids,
  isSignedBy,
  keyCertSign,
  keyUsageOf,
  readCertificate,
  verificationKey
} from './certificate.ts'
import { maximumChainBytes } from './check-leaf.ts'
import { DerError } from './der.ts'
import { readPem, readSinglePem } from './pem.ts'
import { equalBytes } from './public-key.ts'
import { isSubjectOf, organization } from './subject.ts'

export interface IntermediateExpectation {
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  commonName: string
  now: Date
  maximumLifetimeSeconds: number
  /** PEM of the CAs of which one must have signed it; absent where they are not known. */
  issuers?: string | undefined
  /** For an authority that cannot set it. */
  mayLackPathLength?: boolean
}

export type IntermediateProblemCode =
  | 'Malformed'
  | 'PublicKey'
  | 'Subject'
  | 'Authority'
  | 'PathLength'
  | 'KeyUsage'
  | 'ExtendedKeyUsage'
  | 'CriticalExtension'
  | 'Constraints'
  | 'Dates'
  | 'Lifetime'
  | 'Signature'
  | 'Size'

export interface IntermediateProblem {
  code: IntermediateProblemCode
  detail: string
}

/** All problems found in the PEM of one certificate; none means good. Never throws on the input. */
export function checkIntermediate(
  pem: string,
  expected: IntermediateExpectation
): IntermediateProblem[] {
  try {
    const der = readSinglePem(pem, 'CERTIFICATE')
    if (der === undefined) return [problem('Malformed', 'One certificate in PEM was expected.')]
    const certificate = readCertificate(der)
    return [
      ...identityProblems(certificate, expected),
      ...powerProblems(certificate, expected),
      ...extensionProblems(certificate),
      ...dateProblems(certificate, expected),
      ...signatureProblems(certificate, expected)
    ]
  } catch (error) {
    if (error instanceof DerError) return [problem('Malformed', error.message)]
    throw error
  }
}

function* identityProblems(
  { publicKey, subject, der }: Certificate,
  expected: IntermediateExpectation
): Generator<IntermediateProblem> {
  if (!equalBytes(publicKey, expected.publicKey)) {
    yield problem('PublicKey', 'The certificate is for another key.')
  }
  if (!isSubjectOf(subject, expected.commonName)) {
    yield problem('Subject', `The subject is not CN=${expected.commonName}, O=${organization}.`)
  }
  if (der.length > maximumChainBytes) {
    yield problem('Size', `It has ${der.length} bytes; at most ${maximumChainBytes} were expected.`)
  }
}

const allowedUsages = new Set([0, keyCertSign, 6])
const tlsPurposes = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']

function* powerProblems(
  certificate: Certificate,
  { mayLackPathLength = false }: IntermediateExpectation
): Generator<IntermediateProblem> {
  const { isAuthority, pathLength } = basicConstraintsOf(certificate)
  if (!isAuthority || !certificate.extensions.get(extensionOids.basicConstraints)?.critical) {
    yield problem('Authority', 'It is not a CA with critical basicConstraints.')
  }
  // Attack: with room for a CA below it, who gets at its key makes CAs that look like those of other clusters.
  if (pathLength !== 0 && !(pathLength === undefined && mayLackPathLength)) {
    yield problem(
      'PathLength',
      `The path length is ${pathLength ?? 'not limited'}; 0 was expected.`
    )
  }
  const usages = keyUsageOf(certificate)
  if (!usages?.has(keyCertSign) || [...usages].some(usage => !allowedUsages.has(usage))) {
    yield problem('KeyUsage', 'The key usage is not keyCertSign (and cRLSign, digitalSignature).')
  }
  const purposes = extendedKeyUsageOf(certificate)
  if (purposes !== undefined && !tlsPurposes.every(purpose => purposes.has(purpose))) {
    yield problem('ExtendedKeyUsage', 'Its purposes keep pods from being server and client.')
  }
}

const understood = new Set<string>([
  extensionOids.basicConstraints,
  extensionOids.keyUsage,
  extensionOids.extendedKeyUsage
])

function* extensionProblems({ extensions }: Certificate): Generator<IntermediateProblem> {
  if (extensions.has(extensionOids.nameConstraints)) {
    yield problem('Constraints', 'It has name constraints, which were not asked for.')
  }
  if (extensions.has(extensionOids.subjectAlternativeName)) {
    yield problem('Subject', 'It has alternative names, which were not asked for.')
  }
  for (const [oid, { critical }] of extensions) {
    if (critical && !understood.has(oid)) {
      yield problem('CriticalExtension', `The critical extension ${oid} is not known to gRPC.`)
    }
  }
}

/** What a remote authority's clock may be ahead. */
const clockSkewMs = 5 * 60 * 1000

function* dateProblems(
  { notBefore, notAfter }: Certificate,
  { now, maximumLifetimeSeconds }: IntermediateExpectation
): Generator<IntermediateProblem> {
  if (notBefore > now || notAfter <= now) yield problem('Dates', 'It is not valid now.')
  if (notAfter.getTime() > now.getTime() + maximumLifetimeSeconds * 1000 + clockSkewMs) {
    yield problem('Lifetime', 'It is valid for longer than was asked.')
  }
}

function* signatureProblems(
  certificate: Certificate,
  { issuers }: IntermediateExpectation
): Generator<IntermediateProblem> {
  if (issuers === undefined) return
  const known = (readPem(issuers) ?? []).map(({ der }) => readCertificate(der))
  const signers = known.filter(({ subject, publicKey }) => {
    const key = equalBytes(subject, certificate.issuer) ? verificationKey(publicKey) : undefined
    return key !== undefined && isSignedBy(certificate, key)
  })
  // A CA that was renewed with its key may be there twice.
  const isWithin = ({ notBefore, notAfter }: Certificate) =>
    certificate.notBefore >= notBefore && certificate.notAfter <= notAfter
  if (signers.length === 0) {
    yield problem('Signature', 'It is not signed by a CA that was expected.')
  } else if (!signers.some(isWithin)) {
    yield problem('Dates', 'It is valid outside the dates of its issuer.')
  }
}

function problem(code: IntermediateProblemCode, detail: string): IntermediateProblem {
  return { code, detail }
}
