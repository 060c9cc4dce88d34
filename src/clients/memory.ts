/**
 * What this replica remembers of requests that have no answer yet, by their UIDs: whether it signs, when it tries again, and
 * what it has written without knowing whether that stands.
 */

export interface Memory {
  /** By this replica. */
  approved(uid: string): void
  /** Of an approved request: it is ours, or whoever has approved it has had time enough. */
  maySign(uid: string): boolean
  /** Is about to write this certificate, or its digest; `tell` says so to people, once. */
  writes(uid: string, certificate: string, tell: () => void): void
  /** This is what stands in the request: tells of it if it is ours. */
  stands(uid: string, certificate: string): void
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
  /** Of a write that has failed, too: it may have been taken and its answer lost, or be taken late. */
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
    writes(uid, certificate, tell) {
      of(uid).written.set(certificate, tell)
    },
    stands: (uid, certificate) => known.get(uid)?.written.get(certificate)?.(),
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
