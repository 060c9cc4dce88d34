/** How many running pods hold a certificate of which CA, for the metrics: from a watch of Ray pods of its own. */
import type { Authority } from '../../authority/authority.ts'
import { type AnchorCounts, countByAnchor } from '../../live/anchors.ts'
import { createLiveClusters } from '../../live/clusters.ts'
import type { Surroundings } from './component.ts'

export interface PodAnchors {
  start(): void
  stop(): Promise<void>
}

export function createPodAnchors(
  authority: Pick<Authority, 'describe'>,
  { client, clocks, random, metrics, log }: Surroundings
): PodAnchors {
  const pods = createLiveClusters({
    client,
    random: random.fraction,
    clock: clocks.steady,
    onFault(error) {
      log.warn({ watch: 'ray pods', err: error }, 'a watch failed and is tried again')
    }
  })
  const counts = (): AnchorCounts => {
    const { anchorSha256, alsoTrusted = [] } = authority.describe()
    const others = alsoTrusted.map(anchor => anchor.anchorSha256)
    return countByAnchor(pods.pods(), { signing: anchorSha256, alsoTrusted: others })
  }
  metrics.gauges(
    'rayguard_pods_by_anchor',
    'Running pods by the CA that has signed their certificate: the one that signs now, one that is also trusted, another.',
    'anchor',
    () => {
      const { signing, alsoTrusted, other } = counts()
      return { signing, alsoTrusted, other }
    }
  )
  metrics.gauge(
    'rayguard_pods_lacking_anchor',
    'Running pods that do not trust every CA that new pods are told to trust.',
    () => counts().lacking
  )
  return { start: pods.start, stop: pods.stop }
}
