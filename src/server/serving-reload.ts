/**
 * Looks at the files of the serving pair now and then, and hands on a new pair that can be used.
 *
 * By reading and comparing, not by file events: the kubelet exchanges a whole directory by a symbolic link, of which
 * watchers see different things on different systems.
 */
import { checkPair, type LoadedPair, type PairFiles, readPair } from './serving-pair.ts'

export interface ServingReloadOptions {
  files: PairFiles
  initial: LoadedPair
  /** Milliseconds since the epoch. */
  clock: () => number
  /** Hands the pair to the listeners; throws where it cannot be used. */
  use(pair: LoadedPair): void
  onDone(pair: LoadedPair): void
  /** Once for each new content of the files; the pair before it stays in use. */
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
  let seen = fingerprint(current.certificate, current.privateKey)
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

  async function look(): Promise<void> {
    try {
      const pair = await readPair(files).catch((error: Error) => {
        if (isNew(error.message)) throw error
        return undefined
      })
      if (pair === undefined || !isNew(fingerprint(pair.certificate, pair.privateKey))) return
      const loaded = checkPair(pair, files, clock())
      options.use(loaded)
      current = loaded
      options.onDone(loaded)
    } catch (error) {
      options.onFailed(error)
    }
  }

  /** The same bad content is spoken of once, not every few seconds. */
  function isNew(content: string): boolean {
    if (content === seen) return false
    seen = content
    return true
  }
}

function fingerprint(certificate: string, privateKey: string): string {
  return `${certificate}\0${privateKey}`
}
