/**
 * Which CA has signed the running pods and which ones they trust, by what their agents have said. Pure.
 *
 * Decides when two certificates are of one CA: a pod that trusts the former certificate of a CA trusts what the CA signs
 * after a renewal with the same key, too. Agents and replicas from before this was told say the certificates alone.
 */
import type { TerminationMessage } from '../contract/enrollment.ts'
import type { LivePod } from './pod.ts'

export type SaidAnchors = Pick<
  TerminationMessage,
  'anchorSha256' | 'anchorKeySha256' | 'trustedSha256' | 'trustedKeySha256'
>

/** Of a CA. */
export interface Anchor {
  anchorSha256: string
  anchorKeySha256?: string
}

/** The one of these that has signed its certificate: by that very certificate, else by the key. */
export function signerOf<A extends Anchor>(
  { anchorSha256, anchorKeySha256: key }: Anchor,
  anchors: readonly A[]
): A | undefined {
  return (
    anchors.find(anchor => anchor.anchorSha256 === anchorSha256) ??
    (key === undefined ? undefined : anchors.find(anchor => anchor.anchorKeySha256 === key))
  )
}

/** What agents from before have said of the certificate alone, with what is known of it. */
export function completed<S extends Anchor>(said: S, known: readonly Anchor[]): S {
  if (said.anchorKeySha256 !== undefined) return said
  const same = known.find(({ anchorSha256 }) => anchorSha256 === said.anchorSha256)
  return same?.anchorKeySha256 ? { ...said, anchorKeySha256: same.anchorKeySha256 } : said
}

/** Who has said nothing but who signed may trust more than it is counted for, never less: an older agent, or a long list. */
export function trusts(said: SaidAnchors, { anchorSha256, anchorKeySha256: key }: Anchor): boolean {
  const { trustedSha256 = [said.anchorSha256], trustedKeySha256 = [said.anchorKeySha256] } = said
  return (
    trustedSha256.includes(anchorSha256) || (key !== undefined && trustedKeySha256.includes(key))
  )
}

/**
 * Those that some of the others do not trust: they cannot connect to them, and together are no Ray cluster. `isOwn`: of a CA
 * of a RayCluster, whose certificates differ after a renewal. Where agents from before hold them nobody can tell whether it is
 * the same.
 */
export function strangers<T extends SaidAnchors>(
  pods: readonly T[],
  isOwn: (anchor: Anchor) => boolean = () => false
): T[] {
  const own = pods.filter(isOwn)
  if (own.length === 0) return untrusted(pods)
  if (own.length < pods.length) return own
  return untrusted(own.filter(({ anchorKeySha256 }) => anchorKeySha256 !== undefined))
}

function untrusted<T extends SaidAnchors>(pods: readonly T[]): T[] {
  const keyOf = ({ anchorSha256, anchorKeySha256 }: Anchor) => `${anchorSha256} ${anchorKeySha256}`
  const signers = new Map<string, Anchor>(pods.map(pod => [keyOf(pod), pod]))
  const foreign = new Set<string>()
  for (const [key, signer] of signers) {
    if (pods.some(pod => !trusts(pod, signer))) foreign.add(key)
  }
  return pods.filter(pod => foreign.has(keyOf(pod)))
}

export interface KnownAnchors {
  /** Of the CA that signs. */
  signing: Anchor
  alsoTrusted: readonly Anchor[]
}

export interface AnchorCounts {
  signing: number
  alsoTrusted: number
  /** Of a CA that new pods are not told of: one that was replaced at once, or that of one cluster. */
  other: number
  /** Of the first two: pods that do not trust all that a new pod is told to. */
  lacking: number
}

export function countByAnchor(
  pods: Iterable<LivePod>,
  { signing, alsoTrusted }: KnownAnchors
): AnchorCounts {
  const all = [signing, ...alsoTrusted]
  const counts: AnchorCounts = { signing: 0, alsoTrusted: 0, other: 0, lacking: 0 }
  for (const { live, agent } of pods) {
    if (!live || agent?.ended !== 'well') continue
    const signer = signerOf(agent, all)
    if (signer === undefined) {
      counts.other += 1
      continue
    }
    counts[signer === signing ? 'signing' : 'alsoTrusted'] += 1
    const said = completed(agent, all)
    if (!all.every(anchor => trusts(said, anchor))) counts.lacking += 1
  }
  return counts
}
