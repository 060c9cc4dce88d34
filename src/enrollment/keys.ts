import { LRUCache } from 'lru-cache'

export interface KnownKeys {
  /** False if another pod has shown the key before. */
  claim(spkiSha256: string, podUid: string): boolean
}

/**
 * Which pod a key belongs to. Attack: a key that has leaked, or that an image ships to every pod, gets certificates for
 * many addresses. Bounded: what is long unused is forgotten, so this makes reuse hard, not impossible.
 */
export function createKnownKeys(max = 100_000): KnownKeys {
  const owners = new LRUCache<string, string>({ max })
  return {
    claim(spkiSha256, podUid) {
      const owner = owners.get(spkiSha256)
      if (owner !== undefined && owner !== podUid) return false
      owners.set(spkiSha256, podUid)
      return true
    }
  }
}
