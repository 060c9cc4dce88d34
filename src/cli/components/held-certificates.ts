/** Of which CA the certificates of running pods are, by what their agents have said. Pure. */
import type { AuthorityDescription } from '../../authority/authority.ts'
import type { ClusterPod } from '../../authority/per-cluster/standing.ts'
import { type Anchor, signerOf } from '../../live/anchors.ts'
import type { LivePod } from '../../live/pod.ts'

/** `undefined`: nobody knows which CA all pods share. */
export type IsShared = (anchor: Anchor) => boolean | undefined

/** Attack: while the CA is away, as when an HSM boots, pods of a CA whose Secret is gone must not pass for those of it. */
export function sharedAnchors(authority: { describe(): AuthorityDescription }): IsShared {
  return anchor => {
    const signing = authority.describe()
    // Agents from before that was said.
    if (anchor.anchorSha256 === '') return true
    if (signing.anchorSha256 === '') return undefined
    return signerOf(anchor, [signing, ...(signing.alsoTrusted ?? [])]) !== undefined
  }
}

/** Whether any live pod holds a certificate of another CA; `undefined` where that cannot be told (yet). */
export function anyForeign(pods: Iterable<LivePod>, isShared: IsShared): boolean | undefined {
  const certificates = new Set(
    [...pods].flatMap(pod => (pod.live ? certificateOf(pod, isShared) : []))
  )
  if (certificates.has('foreign')) return true
  return certificates.has('unjudged') ? undefined : false
}

/** Those that have our TLS. */
export function clusterPods(pods: Iterable<LivePod>, isShared: IsShared): ClusterPod[] {
  return [...pods].flatMap(pod => {
    const { tls, node, createdAt, agent } = pod
    if (tls !== 'rayguard') return []
    const said = agent?.ended === 'well' ? agent.anchorKeySha256 : undefined
    return [
      {
        ...{ node, createdAt, certificate: certificateOf(pod, isShared) },
        ...(said !== undefined && { anchorKeySha256: said })
      }
    ]
  })
}

/** Before its agent has said that it holds a certificate, or that it gave up, nobody knows. */
function certificateOf({ agent }: LivePod, isShared: IsShared): ClusterPod['certificate'] {
  if (agent === undefined) return 'unknown'
  if (agent.ended === 'badly') return 'none'
  const shared = isShared(agent)
  if (shared === undefined) return 'unjudged'
  return shared ? 'held' : 'foreign'
}
