/**
 * Looks at the files of the serving pair now and then, and hands on a new pair that can be used.
 *
 * By reading and comparing, not by file events: the kubelet exchanges a whole directory by a symbolic link, of which
 * watchers see different things on different systems.
 */
import { checkPair, type LoadedPair, type PairFiles, readPair } from './serving-pair.ts'
import type { ServingPair } from './tls.ts'

export interface ServingReloadOptions {
  files: PairFiles
  initial: LoadedPair
  /** Milliseconds since the epoch. */
  clock: () => number
  /** Hands the pair to the listeners; throws where it cannot be used. */
  use(pair: LoadedPair): void
  onDone(pair: LoadedPair): void
  /** Once for each problem; the pair in use stays. */
  onFailed(error: unknown): void
}

export interface ServingReload {
  /** Looks once. Never throws. */
  look(): Promise<void>
  start(everyMs: number): void
  stop(): void
  /** The pair in use. */
  current(): LoadedPair
}

export function createServingReload(options: ServingReloadOptions): ServingReload {
  const { files, clock } = options
  let current = options.initial
  let reported: string | undefined
  let timer: NodeJS.Timeout | undefined

  return {
    look,
    start(everyMs) {
      timer = setInterval(() => void look(), everyMs)
      timer.unref()
    },
    stop() {
      clearInterval(timer)
    },
    current: () => current
  }

  /** A pair that was refused is tried again each time: its other half may be on the way, its day may come. */
  async function look(): Promise<void> {
    try {
      const pair = await wholePair(await readPair(files))
      if (samePair(pair, current)) return
      const loaded = checkPair(pair, files, clock())
      options.use(loaded)
      current = loaded
      reported = undefined
      options.onDone(loaded)
    } catch (error) {
      const { message } = error as Error
      // The same problem is spoken of once, not every few seconds.
      if (message === reported) return
      reported = message
      options.onFailed(error)
    }
  }

  /** A new pair is read until two reads agree: the directory may be exchanged between certificate and key. */
  async function wholePair(first: ServingPair): Promise<ServingPair> {
    let pair = first
    for (let tries = 0; tries < 3 && !samePair(pair, current); tries += 1) {
      const again = await readPair(files)
      if (samePair(pair, again)) break
      pair = again
    }
    return pair
  }
}

function samePair(one: ServingPair, other: ServingPair): boolean {
  return one.certificate === other.certificate && one.privateKey === other.privateKey
}
