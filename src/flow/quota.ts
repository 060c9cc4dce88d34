import { LRUCache } from 'lru-cache'

export interface Quota {
  /** Zero if there was one to take, else the seconds until there is. */
  take(key: string): number
  giveBack(key: string): void
}

export interface QuotaOptions {
  /** How many may be taken at once. */
  burst: number
  /** How long an empty one takes to be full again. */
  periodSeconds: number
  /** Milliseconds. */
  clock: () => number
  /** Keys that are remembered; the longest unused is forgotten, that is: full again. */
  keys?: number
}

/** A token bucket a key. Attack: one pod or namespace that keeps the signer busy, or collects certificates. */
export function createQuota({ burst, periodSeconds, clock, keys = 50_000 }: QuotaOptions): Quota {
  const perSecond = burst / periodSeconds
  const buckets = new LRUCache<string, { left: number; at: number }>({ max: keys })

  return {
    take(key) {
      const bucket = filled(key)
      if (bucket.left < 1) return Math.ceil((1 - bucket.left) / perSecond)
      bucket.left -= 1
      return 0
    },
    giveBack(key) {
      const bucket = filled(key)
      bucket.left = Math.min(burst, bucket.left + 1)
    }
  }

  function filled(key: string): { left: number; at: number } {
    const now = clock()
    const bucket = buckets.get(key) ?? { left: burst, at: now }
    const elapsedSeconds = Math.max(0, now - bucket.at) / 1000
    bucket.left = Math.min(burst, bucket.left + elapsedSeconds * perSecond)
    bucket.at = now
    buckets.set(key, bucket)
    return bucket
  }
}
