/**
 * Judges the path from a leaf to what a pod trusts: signatures, order, what each issuer may sign, and until when.
 */
import type { KeyObject } from 'node:crypto'
import { foreignIdentifier } from './authority-key-identifier.ts'
import {
  basicConstraintsOf,
  type Certificate,
  isSignedBy,
  keyCertSign,
  keyUsageOf,
  nameConstraintsOf,
  verificationKey
} from './certificate.ts'
import { type LeafProblem, problem } from './leaf-problem.ts'
import { equalBytes } from './public-key.ts'

export interface Issuer {
  certificate: Certificate
  key: KeyObject | undefined
}

export function issuerOf(certificate: Certificate): Issuer {
  return { certificate, key: verificationKey(certificate.publicKey) }
}

/** Leaf, each certificate signed by the next one, the last by an anchor; the anchor itself may end the chain. */
export function* pathProblems(
  leaf: Certificate,
  intermediates: Certificate[],
  anchors: Issuer[],
  now: Date
): Generator<LeafProblem> {
  const last = intermediates.at(-1)
  const sent =
    last !== undefined && anchors.some(({ certificate }) => equalBytes(certificate.der, last.der))
      ? intermediates.slice(0, -1)
      : intermediates
  let certificate = leaf
  for (const [depth, issuer] of sent.entries()) {
    yield* linkProblems(leaf, certificate, issuerOf(issuer), depth, now)
    certificate = issuer
  }
  const named = anchors.filter(anchor => equalBytes(anchor.certificate.subject, certificate.issuer))
  if (named.length === 0) {
    yield problem('Anchor', 'No trust anchor is the issuer of the last certificate.')
    return
  }
  const attempts = named.map(anchor => [
    ...linkProblems(leaf, certificate, anchor, sent.length, now)
  ])
  if (attempts.every(problems => problems.length > 0)) yield* attempts[0] ?? []
}

function* linkProblems(
  leaf: Certificate,
  certificate: Certificate,
  { certificate: issuer, key }: Issuer,
  depth: number,
  now: Date
): Generator<LeafProblem> {
  if (!equalBytes(certificate.issuer, issuer.subject)) {
    yield problem('Order', 'A certificate is not followed by that of its issuer.')
    return
  }
  const foreign = foreignIdentifier(certificate, issuer)
  if (key === undefined || !isSignedBy(certificate, key)) {
    yield problem('Signature', 'A certificate is not signed by its issuer.')
  } else if (foreign !== undefined) {
    yield problem(
      'AuthorityKeyIdentifier',
      `A certificate names another certificate of its issuer than the one that is there, by its ${foreign}.`
    )
  }
  const { isAuthority, pathLength } = basicConstraintsOf(issuer)
  if (
    !isAuthority ||
    (pathLength ?? depth) < depth ||
    !(keyUsageOf(issuer)?.has(keyCertSign) ?? true)
  ) {
    yield problem('IssuingCertificate', 'An issuer may not sign this certificate.')
  }
  // BoringSSL, which gRPC is built with, fails the whole chain: "unsupported name constraint type".
  if (nameConstraintsOf(issuer)?.hasAddresses) {
    yield problem('AddressConstraints', 'An issuer has name constraints on IP addresses.')
  }
  // It may begin before an issuer that is some minutes old: all have to be valid now and at its end (RFC 5280 §6.1.3).
  if (issuer.notBefore > now || leaf.notAfter > issuer.notAfter) {
    yield problem('Dates', 'An issuer is not valid yet, or ends before the certificate.')
  }
}
