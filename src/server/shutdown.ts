/**
 * The end of the process, without a failed request: first nobody sends us new ones, then those under way are answered.
 *
 * A pod's address leaves the Service a moment after readiness is withdrawn, and the API server goes on using its open
 * connection until a reply says `Connection: close`.
 */
import type { Logger } from '../telemetry/logger.ts'
import type { Listener } from './listener.ts'
import type { Readiness } from './readiness.ts'

export interface ShutdownOptions {
  readiness: Readiness
  /** Closed together. */
  listeners: readonly Listener[]
  /** Answers probes to the end. */
  ops: Listener
  /** Watches, clients, the authority: closed in this order when nothing uses them any more. */
  closers: readonly (() => Promise<void> | void)[]
  drainMs: number
  /** From the beginning. */
  deadlineMs: number
  log: Logger
  /** Resolves after a time, or when the signal aborts. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>
}

/** True when every request was answered, false when the deadline cut some off. */
export async function shutDown(options: ShutdownOptions): Promise<boolean> {
  const { readiness, listeners, ops, log, sleep } = options
  readiness.withdraw('shutting down')
  for (const listener of listeners) listener.drain()
  log.info({ drainSeconds: options.drainMs / 1000 }, 'shutting down')
  const finished = new AbortController()
  const inTime = await Promise.race([
    drained().then(() => true),
    sleep(options.deadlineMs, finished.signal).then(() => false)
  ])
  finished.abort()
  if (!inTime) {
    log.warn('the deadline is over: what is still open is cut')
    for (const listener of [...listeners, ops]) listener.cut()
  }
  return inTime

  async function drained(): Promise<void> {
    await sleep(options.drainMs, finished.signal)
    await Promise.all(listeners.map(listener => listener.close()))
    for (const close of options.closers) await close()
    ops.drain()
    await ops.close()
  }
}
