/**
 * Opens the authority that the settings name. The one place that knows which kinds there are.
 */
import type { Right } from '../kubernetes/rights.ts'
import { type Authority, AuthorityError } from './authority.ts'
import {
  type CertManagerSettings,
  certManagerRights,
  openCertManagerAuthority
} from './cert-manager/issuer-authority.ts'
import {
  type KubernetesCsrSettings,
  kubernetesCsrRights,
  openKubernetesCsrAuthority
} from './kubernetes-csr/csr-authority.ts'
import type { AuthorityOptions } from './options.ts'
import { openPemAuthority } from './pem-authority.ts'
import type { PemFiles } from './pem-files.ts'
import type { TokenAuthoritySettings } from './pkcs11/token-authority.ts'
import type { VaultAuthoritySettings } from './vault/vault-authority.ts'

export type AuthoritySettings =
  | ({ kind: 'pem' } & PemFiles)
  | TokenAuthoritySettings
  | KubernetesCsrSettings
  | CertManagerSettings
  | VaultAuthoritySettings

/** Known before the authority can be asked: pods learn it with their first request. */
export function namesFrom(settings: AuthoritySettings): Authority['namesFrom'] {
  if (settings.kind === 'vault') return settings.mode === 'sign-verbatim' ? 'request' : 'server'
  return asksCluster(settings) ? 'request' : 'server'
}

/** `KeyProtection.kind`, known before the authority can be asked; `undefined` where it seals nothing. */
export function protectionKind(settings: AuthoritySettings): string | undefined {
  if (settings.kind === 'pkcs11' && settings.sealing !== undefined) return 'pkcs11'
  return settings.kind === 'vault' && settings.transit !== undefined ? 'vault-transit' : undefined
}

/** Through the Kubernetes API, which only a running server has at hand. */
export function asksCluster(
  settings: AuthoritySettings
): settings is KubernetesCsrSettings | CertManagerSettings {
  return settings.kind === 'kubernetes-csr' || settings.kind === 'cert-manager'
}

/** Of Rayguard's service account, beside those that identity needs. `namespace`: Rayguard's own. */
export function neededRights(settings: AuthoritySettings, namespace: string): Right[] {
  switch (settings.kind) {
    case 'kubernetes-csr':
      return kubernetesCsrRights(settings)
    case 'cert-manager':
      return certManagerRights(namespace)
    default:
      return []
  }
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
    case 'kubernetes-csr':
      return await openKubernetesCsrAuthority(settings, options)
    case 'cert-manager':
      return await openCertManagerAuthority(settings, options)
    case 'vault': {
      const { openVaultAuthority } = await import('./vault/vault-authority.ts')
      return await openVaultAuthority(settings, options)
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
