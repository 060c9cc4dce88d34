export interface Seldom {
  /** Says it at once, or counts it when it was said a moment ago. */
  say(): void
}

/**
 * For what strangers can cause as often as they like: the first is told at once, the others as a number when the time is
 * over. Attack: a flood of connections that fills the log.
 */
export function createSeldom(tell: (times: number) => void, everyMs: number): Seldom {
  let times = 0
  let timer: NodeJS.Timeout | undefined

  return {
    say() {
      times += 1
      if (timer === undefined) told()
    }
  }

  function told(): void {
    timer = undefined
    if (times === 0) return
    tell(times)
    times = 0
    timer = setTimeout(told, everyMs)
    timer.unref()
  }
}
