/**
 * Opens the authority that the settings name. The one place that knows which kinds there are.
 */
import { type Authority, AuthorityError } from './authority.ts'
import type { Sources } from './local.ts'
import { openPemAuthority, type ReloadOutcome } from './pem-authority.ts'
import type { PemFiles } from './pem-files.ts'

export type AuthoritySettings = { kind: 'pem' } & PemFiles

export interface AuthorityOptions extends Sources {
  /** Told of every load that changed something: the first one, a new CA, a CA that could not be taken. */
  onReload?: (outcome: ReloadOutcome) => void
  /** Such as `cluster.local`; with it a CA that does not allow the names of head services is refused at once. */
  clusterDomain?: string
  /** How often files are looked at. Default 10 000; 0 never. */
  pollMs?: number
}

/** Throws {@link AuthorityError} when it cannot be used now. */
export async function openAuthority(
  settings: AuthoritySettings,
  options: AuthorityOptions
): Promise<Authority> {
  switch (settings.kind) {
    case 'pem':
      return await openPemAuthority(settings, options)
    default: {
      const unknown: never = settings.kind
      throw new AuthorityError('Invalid', `There is no authority of kind ${String(unknown)}.`)
    }
  }
}
