const firstDelayMs = 250
const longestDelayMs = 10_000
/** A server that asks for more is not obeyed: the pod's start would hang on one wrong header. */
const longestRetryAfterMs = 60_000

/**
 * Milliseconds until the next try: exponential with full jitter, so that a thousand pods that failed together do not
 * come back together. What the server asks for is waited at least, with the jitter on top.
 *
 * `failures` counts from 1; `random` is in [0, 1).
 */
export function delayBefore(failures: number, random: number, retryAfterMs = 0): number {
  const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures - 1, 16))
  return Math.min(retryAfterMs, longestRetryAfterMs) + Math.ceil(random * ceiling)
}
