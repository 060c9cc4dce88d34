import { LRUCache } from 'lru-cache'

export interface KnownKeys {
  /** False if another pod, or another request for a client certificate, has shown the key before. */
  claim(spkiSha256: string, holderUid: string): boolean
}

/**
 * Whom a key belongs to. Attack: a key that has leaked, or that an image ships to every pod, gets certificates for
 * many addresses. Bounded: what is long unused is forgotten, so this makes reuse hard, not impossible.
 */
export function createKnownKeys(max = 100_000): KnownKeys {
  const owners = new LRUCache<string, string>({ max })
  return {
    claim(spkiSha256, holderUid) {
      const owner = owners.get(spkiSha256)
      if (owner !== undefined && owner !== holderUid) return false
      owners.set(spkiSha256, holderUid)
      return true
    }
  }
}
