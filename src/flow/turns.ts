/**
 * Who may go on and who waits: so many at work at one time, the others in the order in which they came.
 *
 * Knows nothing of the work. Never keeps anybody who has gone: a place in the queue ends with its signal or its time.
 */

export interface TurnsOptions {
  atOnce: number
  /** How many may wait; who comes later is sent away at once. */
  waiting: number
  /** The longest wait. Without it as long as the signal lets one. */
  waitMs?: number
}

export interface Turns {
  place(signal?: AbortSignal): Place
  readonly working: number
  readonly waiting: number
}

/** Of one who works. May be entered and left again and again, and left twice. */
export interface Place {
  /** True when it is our turn; false when too many wait, the time is over or the signal has aborted. */
  enter(): Promise<boolean>
  leave(): void
}

export function createTurns({ atOnce, waiting, waitMs }: TurnsOptions): Turns {
  // A Set keeps the order of insertion and forgets from its middle at no cost.
  const queue = new Set<() => void>()
  let working = 0

  return {
    place(signal) {
      let inside = false
      return {
        async enter() {
          if (!inside) inside = await turn(signal)
          return inside
        },
        leave() {
          if (!inside) return
          inside = false
          next()
        }
      }
    },
    get working() {
      return working
    },
    get waiting() {
      return queue.size
    }
  }

  function turn(signal: AbortSignal | undefined): Promise<boolean> | boolean {
    if (signal?.aborted) return false
    if (working < atOnce) {
      working += 1
      return true
    }
    return queue.size < waiting && inQueue(signal)
  }

  function inQueue(signal: AbortSignal | undefined): Promise<boolean> {
    return new Promise(resolve => {
      const settle = (called: boolean) => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', giveUp)
        queue.delete(call)
        resolve(called)
      }
      const call = () => settle(true)
      const giveUp = () => settle(false)
      const timer = waitMs === undefined ? undefined : setTimeout(giveUp, waitMs)
      signal?.addEventListener('abort', giveUp, { once: true })
      queue.add(call)
    })
  }

  /** The turn goes from hand to hand: were it put back first, who comes now would pass those who wait. */
  function next(): void {
    const [call] = queue
    if (call === undefined) working -= 1
    else call()
  }
}
