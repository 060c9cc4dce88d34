/**
 * An authority that signs in this process with what may be replaced while it runs: the CA's files, or its certificates alone
 * where the key is in a token.
 *
 * Decides that what is found anew is taken only when it is whole and usable; until then the former goes on signing.
 */
import type { Authority, KeyProtection, LoadedOutcome, ReloadOutcome } from './authority.ts'
import { currentIntermediates, type LocalIssuer } from './local.ts'
import type { AuthorityOptions } from './options.ts'
import { createReload, type ReloadSource } from './reload.ts'

export interface ReloadedSource<Found> extends Pick<ReloadSource<Found, never>, 'read' | 'mark'> {
  /** Throws AuthorityError where it is no usable CA now. */
  issuerOf(found: Found): Promise<LocalIssuer> | LocalIssuer
  /** What could be better, beside the CA itself. */
  warnings(found: Found): string[]
  protection?: KeyProtection | undefined
  close?(): Promise<void>
}

export interface ReloadedAuthority extends Authority {
  /** Looks now. `undefined`: nothing has changed. */
  reload(): Promise<ReloadOutcome | undefined>
}

/** Throws AuthorityError where `first` is no usable CA now. */
export async function createReloadedAuthority<Found>(
  first: Found,
  { issuerOf, warnings, protection, ...source }: ReloadedSource<Found>,
  { onReload, pollMs }: Pick<AuthorityOptions, 'onReload' | 'pollMs'>
): Promise<ReloadedAuthority> {
  let issuer = await issuerOf(first)
  let warned = warnings(first)
  const { reload, stop } = createReload<Found, LoadedOutcome>(first, {
    read: source.read,
    mark: source.mark,
    async take(found) {
      issuer = await issuerOf(found)
      warned = warnings(found)
    },
    loaded: () => ({
      loaded: true,
      description: issuer.describe(),
      warnings: [...warned, ...issuer.chain().warnings]
    }),
    tell: outcome => onReload?.(outcome),
    pollMs
  })
  return {
    namesFrom: 'server',
    issue: request => issuer.issue(request),
    describe: () => issuer.describe(),
    chain: () => issuer.chain(),
    intermediates: currentIntermediates(() => issuer),
    protection,
    reload,
    async close() {
      await stop()
      await source.close?.()
    }
  }
}
