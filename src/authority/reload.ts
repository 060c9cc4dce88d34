/**
 * Reads anew what may be replaced while we run, and has it taken where it can be used.
 *
 * Decides that what cannot be used leaves the former in use, for pods that wait for a certificate cannot wait for an
 * administrator, and that each fault is told once. It is looked at again and again: a Secret's mount swaps symbolic links,
 * which file notifications miss.
 */
import { type AuthorityOptions, defaultPollMs } from './options.ts'
import { poll } from './poll.ts'

export interface ReloadSource<Found, Loaded> {
  /** Throws where it cannot be read. */
  read(): Promise<Found>
  /** The same text for the same content; all that is kept of it. */
  mark(found: Found): string
  /** Puts it into use. Throws where it cannot be used, and has changed nothing then. */
  take(found: Found): Promise<void> | void
  /** What is in use now. */
  loaded(): Loaded
  tell(outcome: Loaded | NotLoaded): void
  pollMs: AuthorityOptions['pollMs']
}

export interface NotLoaded {
  loaded: false
  reason: string
}

export interface Reload<Loaded> {
  /** Looks now. `undefined`: nothing has changed. */
  reload(): Promise<Loaded | NotLoaded | undefined>
  stop(): Promise<void>
}

/** `first` is in use already, which is told. */
export function createReload<Found, Loaded>(
  first: Found,
  source: ReloadSource<Found, Loaded>
): Reload<Loaded> {
  let inUse = source.mark(first)
  let reason: string | undefined
  const told = <Outcome extends Loaded | NotLoaded>(outcome: Outcome): Outcome => {
    source.tell(outcome)
    return outcome
  }

  /** What was refused is tried again each time: a CA may become valid, its key may still be on the way. */
  async function reload(): Promise<Loaded | NotLoaded | undefined> {
    try {
      const found = await source.read()
      const mark = source.mark(found)
      if (mark === inUse && reason === undefined) return undefined
      if (mark !== inUse) await source.take(found)
      inUse = mark
      reason = undefined
      return told(source.loaded())
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message === reason) return undefined
      reason = message
      return told({ loaded: false, reason })
    }
  }

  const stop = poll(source.pollMs ?? defaultPollMs, reload)
  told(source.loaded())
  return { reload, stop }
}
