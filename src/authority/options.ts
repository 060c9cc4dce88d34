import type { ReloadOutcome } from './authority.ts'
import type { Sources } from './local.ts'

/** What every kind of authority is given. */
export interface AuthorityOptions extends Sources {
  /** Told of every load that changed something: the first one, a new CA, a CA that could not be taken. */
  onReload?: (outcome: ReloadOutcome) => void
  /** Such as `cluster.local`; with it a CA that does not allow the names of head services is refused at once. */
  clusterDomain?: string
  /** How often files are looked at. Default 10 000; 0 never. */
  pollMs?: number
}

export const defaultPollMs = 10_000
