/**
 * The issuing CA that Vault shows and that is not taken, and when it is tried again.
 *
 * A trial is a certificate, which Vault may keep: the same CA is tried ever more seldom, another one at once.
 */
export interface RefusedIssuer {
  /** Why, if there is one. */
  readonly reason: string | undefined
  isDue(text: string): boolean
  /** Returns whether the reason is a new one. */
  note(reason: string, text: string): boolean
  /** Returns whether there was one. */
  forget(): boolean
}

const firstPauseMs = 10_000
const longestPauseMs = 15 * 60_000

/** `clock`: steady, milliseconds. */
export function createRefusedIssuer(clock: () => number): RefusedIssuer {
  let reason: string | undefined
  let tried: { text: string; at: number; count: number } | undefined
  return {
    get reason() {
      return reason
    },
    isDue(text) {
      if (tried?.text !== text) return true
      const pauseMs = Math.min(firstPauseMs * 2 ** (tried.count - 1), longestPauseMs)
      return clock() - tried.at >= pauseMs
    },
    note(found, text) {
      const isNew = found !== reason
      reason = found
      const count = tried?.text === text ? tried.count + 1 : 1
      tried = { text, at: clock(), count }
      return isNew
    },
    forget() {
      const was = reason !== undefined
      reason = undefined
      tried = undefined
      return was
    }
  }
}
