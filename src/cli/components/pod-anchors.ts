/** How many running pods hold a certificate of which CA, for the metrics. */
import type { Authority } from '../../authority/authority.ts'
import { type AnchorCounts, countByAnchor } from '../../live/anchors.ts'
import type { LiveClusters } from '../../live/clusters.ts'
import type { Surroundings } from './component.ts'

export function gaugePodAnchors(
  authority: Pick<Authority, 'describe'>,
  live: Pick<LiveClusters, 'pods'>,
  { metrics }: Surroundings
): void {
  const counts = (): AnchorCounts => {
    const signing = authority.describe()
    return countByAnchor(live.pods(), { signing, alsoTrusted: signing.alsoTrusted ?? [] })
  }
  metrics.gauges(
    'rayguard_pods_by_anchor',
    'Running pods by the CA that has signed their certificate: the one that signs now, one that is also trusted, another (that of their RayCluster, or one that was replaced).',
    'anchor',
    () => {
      // Until it is known nobody can tell.
      if (authority.describe().anchorSha256 === '') return {}
      const { signing, alsoTrusted, other } = counts()
      return { signing, alsoTrusted, other }
    }
  )
  metrics.gauge(
    'rayguard_pods_lacking_anchor',
    'Running pods that do not trust every CA that new pods are told to trust.',
    () => counts().lacking
  )
}
