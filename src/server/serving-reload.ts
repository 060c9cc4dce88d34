/** The serving pair from its files, and again when they have changed. */
import { type ChangedFiles, createChangedFiles } from './changed-files.ts'
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
  /** Once for each problem, until it is over; the pair in use stays. */
  onFailed(error: unknown): void
}

export interface ServingReload extends ChangedFiles {
  /** The pair in use. */
  current(): LoadedPair
}

export function createServingReload(options: ServingReloadOptions): ServingReload {
  const { files, clock } = options
  let current = options.initial
  const changed = createChangedFiles<ServingPair>({
    read: async () => wholePair(await readPair(files)),
    isInUse: pair => samePair(pair, current),
    take(pair) {
      const loaded = checkPair(pair, files, clock())
      options.use(loaded)
      current = loaded
    },
    onDone: () => options.onDone(current),
    onFailed: options.onFailed
  })
  return { ...changed, current: () => current }

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
