/**
 * The CA that the webhook puts into pods: read now and then, from a file or from the ConfigMap of the enrollment server.
 *
 * What cannot be used is refused and spoken of, and the last good one stays. Never asked for by an admission: that takes
 * what is current.
 */
import { readTrustBundle } from './trust-bundle.ts'

export interface ServerCaOptions {
  /** For people: a file, a ConfigMap. */
  place: string
  /** The text; undefined where there is none. */
  read(): Promise<string | undefined>
  /** Milliseconds since the epoch. */
  clock: () => number
  everyMs: number
  onChanged(ends: Date): void
  /** Once for each problem. */
  onProblem(message: string, error?: unknown): void
}

export interface ServerCa {
  /** PEM. Throws before {@link whenKnown} is settled. */
  current(): string
  /** Looks once. Never throws. */
  look(): Promise<void>
  start(): void
  stop(): Promise<void>
  readonly whenKnown: Promise<void>
  /** What is wrong, where something is. */
  problem(): string | undefined
  known(): boolean
}

const firstLooksMs = 1_000

export function createServerCa(options: ServerCaOptions): ServerCa {
  const { place, clock } = options
  let current: string | undefined
  let problem: string | undefined
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let stopped = false
  let known = () => {}
  const whenKnown = new Promise<void>(resolve => {
    known = resolve
  })

  return {
    current() {
      if (current === undefined) throw new Error(`the CA for pods is not known (${place})`)
      return current
    },
    look,
    start: again,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
    whenKnown,
    problem: () => problem,
    known: () => current !== undefined
  }

  function again(): void {
    running = look().then(() => {
      if (stopped) return
      timer = setTimeout(again, current ? options.everyMs : Math.min(options.everyMs, firstLooksMs))
      timer.unref()
    })
  }

  async function look(): Promise<void> {
    let error: unknown
    const text = await options.read().catch(fault => {
      error = fault
      return undefined
    })
    const reading =
      text === undefined
        ? { problem: error instanceof Error ? error.message : 'it is not there (yet)' }
        : readTrustBundle(text, clock())
    if ('problem' in reading) {
      const message = `${place}: ${reading.problem}`
      if (message !== problem) options.onProblem(message, error)
      problem = message
      return
    }
    problem = undefined
    if (reading.bundle === current) return
    current = reading.bundle
    options.onChanged(reading.ends)
    known()
  }
}
