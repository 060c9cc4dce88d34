/**
 * Looks at files now and then, and has what is new in them taken where it can be used.
 *
 * By reading and comparing, not by file events: the kubelet exchanges a whole directory by a symbolic link, of which
 * watchers see different things on different systems.
 */

export interface ChangedFiles {
  /** Looks once. Never throws. */
  look(): Promise<void>
  start(everyMs: number): void
  stop(): void
}

export interface ChangedFilesOptions<Content> {
  /** Throws where they cannot be read. */
  read(): Promise<Content>
  isInUse(content: Content): boolean
  /** Throws where it cannot be used, and has changed nothing then. */
  take(content: Content): void
  /** Something new is in use, or what is in use is there again after a problem. */
  onDone(): void
  /** Once for each problem, until it is over. */
  onFailed(error: unknown): void
}

export function createChangedFiles<Content>(options: ChangedFilesOptions<Content>): ChangedFiles {
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
    }
  }

  /** What was refused is tried again each time: its other half may be on the way, its day may come. */
  async function look(): Promise<void> {
    try {
      const content = await options.read()
      const isNew = !options.isInUse(content)
      if (isNew) options.take(content)
      else if (reported === undefined) return
      reported = undefined
      options.onDone()
    } catch (error) {
      const { message } = error as Error
      // The same problem is spoken of once, not every few seconds.
      if (message === reported) return
      reported = message
      options.onFailed(error)
    }
  }
}
