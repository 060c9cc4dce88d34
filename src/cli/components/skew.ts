/**
 * How far this machine's clock is from the API server's.
 *
 * The API server judges the certificates that we make for ourselves, so its time counts for them, and a node whose clock
 * is an hour off does no harm.
 */
import type { Logger } from '../../telemetry/logger.ts'
import type { Metrics } from '../../telemetry/metrics.ts'

export interface Skew {
  /** With each answer of the API. */
  note(date: Date): void
  /** Milliseconds since the epoch, by the API server's clock; by ours until it has answered. */
  now(): number
}

const notableMs = 60_000
/** A `Date` header has no fractions, and an answer takes its time. */
const inexactMs = 5_000

export function createSkew({
  wall,
  log,
  metrics
}: {
  wall: () => number
  log: Logger
  metrics: Metrics
}): Skew {
  let skewMs = 0
  let notable = false
  metrics.gauge(
    'rayguard_clock_skew_seconds',
    'By how much the clock of the API server is ahead of ours.',
    () => Math.round(skewMs / 1000)
  )
  return {
    note(date) {
      const difference = date.getTime() - wall()
      skewMs = Math.abs(difference) < inexactMs ? 0 : difference
      const before = notable
      notable = Math.abs(skewMs) > notableMs
      if (notable === before) return
      const line = { code: 'ClockSkew', seconds: Math.round(skewMs / 1000) }
      if (notable) log.error(line, 'the clock of this node and that of the API server differ')
      else log.info(line, 'the clocks of this node and of the API server agree again')
    },
    now: () => wall() + skewMs
  }
}
