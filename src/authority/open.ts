/**
 * Opens the authority that the settings name. The one place that knows which kinds there are.
 */
import { type Authority, AuthorityError } from './authority.ts'
import type { AuthorityOptions } from './options.ts'
import { openPemAuthority } from './pem-authority.ts'
import type { PemFiles } from './pem-files.ts'
import type { TokenAuthoritySettings } from './pkcs11/token-authority.ts'

export type AuthoritySettings = ({ kind: 'pem' } & PemFiles) | TokenAuthoritySettings

/** Known before the authority can be asked: pods learn it with their first request. */
export function namesFrom(_settings: AuthoritySettings): Authority['namesFrom'] {
  return 'server'
}

/** Throws {@link AuthorityError} when it cannot be used now. */
export async function openAuthority(
  settings: AuthoritySettings,
  options: AuthorityOptions
): Promise<Authority> {
  switch (settings.kind) {
    case 'pem':
      return await openPemAuthority(settings, options)
    case 'pkcs11': {
      const { openTokenAuthority } = await import('./pkcs11/token-authority.ts')
      return await openTokenAuthority(settings, options)
    }
    default: {
      const unknown: never = settings
      throw new AuthorityError('Invalid', `There is no authority of kind ${kindOf(unknown)}.`)
    }
  }
}

function kindOf(settings: { kind: string }): string {
  return settings.kind
}
