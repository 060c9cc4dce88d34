/**
 * What this replica remembers of requests that have no answer yet, by their UIDs: whether it signs, when it tries again, and
 * what it has written without knowing whether that stands.
 */

export interface Memory {
  /** By this replica. */
  approved(uid: string): void
  /** Of an approved request: it is ours, or whoever has approved it has had time enough. */
  maySign(uid: string): boolean
  /** Is about to write the certificate of this digest; `tell` says so to people, once. */
  writes(uid: string, digest: string, tell: () => void): void
  /** The certificate of this digest stands in the request: tells of it if it is ours. */
  stands(uid: string, digest: string): void
  /** Each time in a row doubles the pause. */
  failed(uid: string): void
  isDue(uid: string): boolean
  forget(uid: string): void
  /** How many requests. */
  readonly size: number
}

interface Remembered {
  approvedHere: boolean
  /** When it was first seen to be approved. */
  approvedSince: number | undefined
  failures: number
  againAt: number
  /** By digest. Of a write that has failed, too: it may have been taken and its answer lost, or be taken late. */
  written: Map<string, () => void>
}

/** With pauses of 10 s to begin with: some five minutes. */
const longestPause = 32

/** `clock`: milliseconds that never go back. */
export function createMemory({
  clock,
  againEveryMs
}: {
  clock: () => number
  againEveryMs: number
}): Memory {
  const known = new Map<string, Remembered>()

  return {
    approved(uid) {
      of(uid).approvedHere = true
    },
    maySign(uid) {
      const request = of(uid)
      request.approvedSince ??= clock()
      return request.approvedHere || clock() - request.approvedSince >= againEveryMs
    },
    writes(uid, digest, tell) {
      of(uid).written.set(digest, tell)
    },
    stands: (uid, digest) => known.get(uid)?.written.get(digest)?.(),
    failed(uid) {
      const request = of(uid)
      request.againAt = clock() + againEveryMs * Math.min(longestPause, 2 ** request.failures)
      request.failures += 1
    },
    isDue: uid => clock() >= (known.get(uid)?.againAt ?? 0),
    forget: uid => void known.delete(uid),
    get size() {
      return known.size
    }
  }

  function of(uid: string): Remembered {
    const request = known.get(uid) ?? unknown()
    known.set(uid, request)
    return request
  }
}

function unknown(): Remembered {
  return {
    approvedHere: false,
    approvedSince: undefined,
    failures: 0,
    againAt: 0,
    written: new Map()
  }
}
