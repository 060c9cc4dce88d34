export interface WaitOptions<T> {
  timeoutMs: number
  signal?: AbortSignal
  /** Without it any change will do. */
  until?(value: T | undefined): boolean
}

export interface Waiters<T> {
  /** True once `until` holds, at once if it holds for `now`; false after the time or when the signal aborts. */
  wait(uid: string, now: T | undefined, options: WaitOptions<T>): Promise<boolean>
  wake(uid: string, value: T | undefined): void
}

/** Those who wait for one object to change, by its UID. */
export function createWaiters<T>(): Waiters<T> {
  const waiting = new Map<string, Set<(value: T | undefined) => void>>()
  return {
    wait(uid, now, { timeoutMs, signal, until }) {
      if (signal?.aborted) return Promise.resolve(false)
      if (until?.(now)) return Promise.resolve(true)
      return new Promise(resolve => {
        const settle = (outcome: boolean) => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', abort)
          const others = waiting.get(uid)
          others?.delete(look)
          if (others?.size === 0) waiting.delete(uid)
          resolve(outcome)
        }
        const abort = () => settle(false)
        const look = (value: T | undefined) => {
          if (until === undefined || until(value)) settle(true)
        }
        const timer = setTimeout(abort, timeoutMs)
        signal?.addEventListener('abort', abort, { once: true })
        const others = waiting.get(uid) ?? new Set()
        waiting.set(uid, others.add(look))
      })
    },
    wake(uid, value) {
      for (const look of [...(waiting.get(uid) ?? [])]) look(value)
    }
  }
}
