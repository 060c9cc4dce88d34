/**
 * What lost Secrets may do to the pods of a RayCluster, as docs/trust.md tells it: only one that had left no trace yet when
 * what tells of it was lost, or that began to enroll before all replicas had looked since, may stand apart from later ones.
 */

interface Loss {
  /** Whose; `undefined`: of all. */
  cluster: number | undefined
  at: number
  /** Who may have in mind what stood there, until a whole round has shown them that it is gone. */
  unaware: Set<object>
  /** When all knew. */
  knownAt: number
}

export interface Traced {
  cluster: number
  /** When it began to ask for its certificate. */
  askedAt: number
  /** When all replicas see what it holds. */
  toldAt: number
}

export function createLosses(clock: () => number) {
  const losses: Loss[] = []

  return {
    add(cluster: number | undefined, replicas: readonly object[]) {
      const unaware = new Set(replicas)
      losses.push({ cluster, at: clock(), unaware, knownAt: Number.POSITIVE_INFINITY })
    },
    /** To be called when a round of this replica begins; what it gives, when that has come to its end without a fault. */
    seenBy(replica: object): () => void {
      const before = [...losses]
      return () => {
        for (const loss of before) {
          if (loss.unaware.delete(replica) && loss.unaware.size === 0) loss.knownAt = clock()
        }
      }
    },
    mayStandApart({ cluster, askedAt, toldAt }: Traced): boolean {
      return losses.some(
        loss =>
          (loss.cluster ?? cluster) === cluster && loss.at <= toldAt && askedAt <= loss.knownAt
      )
    }
  }
}
