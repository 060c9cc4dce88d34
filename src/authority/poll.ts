/** One look after the other, never two at once. Returns what stops it and waits for the last one. 0: never looks. */
export function poll(intervalMs: number, look: () => Promise<unknown>): () => Promise<void> {
  let timer: NodeJS.Timeout | undefined
  let current: Promise<unknown> = Promise.resolve()
  let stopped = intervalMs === 0
  const schedule = () => {
    if (stopped) return
    timer = setTimeout(() => {
      current = look().finally(schedule)
    }, intervalMs)
    timer.unref()
  }
  schedule()
  return async () => {
    stopped = true
    clearTimeout(timer)
    await current
  }
}
