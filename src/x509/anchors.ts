/**
 * Reads the CAs that pods trust beside the one that signs: the former one, or the next.
 *
 * Decides whether each of them is what a pod may trust: a CA that gRPC can use, and the lowest of its kind. Dates do not
 * keep one out, because a former CA may end while pods still name it; one that has ended is left out.
 */
import { type Certificate, isSignedBy, verificationKey } from './certificate.ts'
import { type ChainOptions, readChain } from './chain.ts'
import { encodePem, readPem } from './pem.ts'
import { equalBytes } from './public-key.ts'
import { areMistakable } from './same-authority.ts'

export interface Anchor {
  certificate: Certificate
  /** For people. */
  subject: string
  /** Of its DER, lower-case hexadecimal. */
  sha256: string
  keySha256: string
  /** Of this one certificate. */
  pem: string
}

export interface AnchorsReading {
  /** Each once. */
  anchors: Anchor[]
  problems: string[]
  warnings: string[]
}

const maximumAnchors = 8

/** An empty text is no anchor, and no problem. Never throws on the input. */
export function readAnchors(pem: string, options: ChainOptions): AnchorsReading {
  const reading: AnchorsReading = { anchors: [], problems: [], warnings: [] }
  const blocks = readPem(pem)
  if (blocks === undefined) return { ...reading, problems: ['A PEM block is damaged'] }
  if (blocks.length > maximumAnchors)
    return { ...reading, problems: [`There are more than ${maximumAnchors} certificates`] }
  for (const [at, { label, der }] of blocks.entries()) {
    const found = anchorOf(encodePem(label, der), options)
    if ('problem' in found) reading.problems.push(`Certificate ${at + 1}: ${found.problem}`)
    else if (found.anchor.certificate.notAfter <= options.now)
      reading.warnings.push(`"${found.anchor.subject}" has ended, and pods are not told of it`)
    else if (!reading.anchors.some(({ sha256 }) => sha256 === found.anchor.sha256))
      reading.anchors.push(found.anchor)
  }
  reading.problems.push(...aboveProblems(reading.anchors), ...mistakableProblems(reading.anchors))
  return reading
}

function anchorOf(pem: string, options: ChainOptions): { anchor: Anchor } | { problem: string } {
  const { chain, checks } = readChain(pem, options)
  const failed = checks.find(({ code, problem }) => problem !== undefined && code !== 'Dates')
  if (chain === undefined || failed !== undefined)
    return { problem: failed?.problem ?? 'it cannot be read' }
  const { issuing: certificate, subject, trustAnchor } = chain
  const { anchorSha256: sha256, anchorKeySha256: keySha256 } = chain
  return { anchor: { certificate, subject, sha256, keySha256, pem: trustAnchor } }
}

/** Attack: whatever else a company's root has signed could join, were the root trusted beside its CA. */
function aboveProblems(anchors: readonly Anchor[]): string[] {
  return anchors.flatMap(upper =>
    anchors
      .filter(lower => isAbove(upper.certificate, lower.certificate))
      .map(
        lower =>
          `"${upper.subject}" has signed "${lower.subject}"; only the CA that signs pods may stand there, none above it`
      )
  )
}

/** gRPC would take the one for the other, and refuse what the other has signed. */
function mistakableProblems(anchors: readonly Anchor[]): string[] {
  const problems = anchors.flatMap((one, at) =>
    anchors
      .slice(0, at)
      .filter(
        other =>
          !equalBytes(other.certificate.publicKey, one.certificate.publicKey) &&
          areMistakable(other.certificate, one.certificate)
      )
      .map(
        () =>
          `Two CAs have the name "${one.subject}", and no subjectKeyIdentifier tells them apart; the next one needs another name, or each an identifier of its own`
      )
  )
  return [...new Set(problems)]
}

/** Whether one CA has signed another. The same CA in a renewed certificate, with the same key, is not above itself. */
export function isAbove(upper: Certificate, lower: Certificate): boolean {
  if (equalBytes(upper.publicKey, lower.publicKey)) return false
  const key = verificationKey(upper.publicKey)
  return equalBytes(upper.subject, lower.issuer) && key !== undefined && isSignedBy(lower, key)
}
