/** Who is answered next: a few at one time, and of these at most two of the same user. */
import { LRUCache } from 'lru-cache'
import { createTurns, type Turns } from '../flow/turns.ts'

export interface FairTurns {
  /** What to call in the end; `undefined`: too many wait, or the signal has aborted. */
  enter(user: string, signal: AbortSignal): Promise<(() => void) | undefined>
}

const atOnce = 4
const atOnceOfUser = 2

/** Attack: thousands of requests by one user, behind which all others would wait. */
export function createFairTurns(): FairTurns {
  const all = createTurns({ atOnce, waiting: 1_000 })
  const byUser = new LRUCache<string, Turns>({ max: 1_000 })

  return {
    async enter(user, signal) {
      const own = ofUser(user).place(signal)
      const place = all.place(signal)
      const leave = () => {
        place.leave()
        own.leave()
      }
      if ((await own.enter()) && (await place.enter())) return leave
      leave()
      return undefined
    }
  }

  function ofUser(user: string): Turns {
    const turns = byUser.get(user) ?? createTurns({ atOnce: atOnceOfUser, waiting: 100 })
    byUser.set(user, turns)
    return turns
  }
}
