/**
 * Which CA has signed the running pods and which ones they trust, by what their agents have said. Pure.
 *
 * Decides nothing: it counts for people who replace the CA.
 */
import type { TerminationMessage } from '../contract/enrollment.ts'
import type { LivePod } from './pod.ts'

type Said = Pick<TerminationMessage, 'anchorSha256' | 'trustedSha256'>

/** An older agent has said nothing but who signed; it may trust more than it is counted for, never less. */
export function trustedBy({ anchorSha256, trustedSha256 }: Said): string[] {
  return trustedSha256 ?? [anchorSha256]
}

/**
 * Those that some of the others do not trust: they cannot connect to them, and together are no Ray cluster. `isOwn`: of the
 * CA of their RayCluster, whose certificates differ after a renewal and vouch for the same key.
 */
export function strangers<T extends Said>(
  pods: readonly T[],
  isOwn: (anchorSha256: string) => boolean = () => false
): T[] {
  const own = pods.filter(({ anchorSha256 }) => isOwn(anchorSha256))
  if (own.length > 0) return own.length === pods.length ? [] : own
  const trusted = pods.map(pod => new Set(trustedBy(pod)))
  return pods.filter(({ anchorSha256 }) => trusted.some(set => !set.has(anchorSha256)))
}

export interface KnownAnchors {
  /** Of the CA that signs. */
  signing: string
  alsoTrusted: readonly string[]
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
  const counts: AnchorCounts = { signing: 0, alsoTrusted: 0, other: 0, lacking: 0 }
  for (const { live, agent } of pods) {
    if (!live || agent?.ended !== 'well') continue
    if (agent.anchorSha256 === signing) counts.signing += 1
    else if (alsoTrusted.includes(agent.anchorSha256)) counts.alsoTrusted += 1
    else {
      counts.other += 1
      continue
    }
    const trusted = trustedBy(agent)
    if (![signing, ...alsoTrusted].every(anchor => trusted.includes(anchor))) counts.lacking += 1
  }
  return counts
}
