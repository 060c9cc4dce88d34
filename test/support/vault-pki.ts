/** The PKI of a real Vault, as docs/authorities/vault.md sets it up. */
import type { VaultServer } from './vault-server.ts'

export const podRole = {
  allow_any_name: true,
  allow_ip_sans: true,
  require_cn: false,
  use_csr_common_name: false,
  use_csr_sans: false,
  key_type: 'any',
  key_usage: ['DigitalSignature'],
  server_flag: true,
  client_flag: true,
  not_before_duration: '5m',
  max_ttl: '2160h',
  no_store: true
}

/** A root of its own at `pki` and the role `ray-pods`. Answers the root, PEM. */
export async function setUpPki(vault: VaultServer): Promise<string> {
  await vault.write('sys/mounts/pki', { type: 'pki', config: { max_lease_ttl: '87600h' } })
  const made = await vault.write('pki/root/generate/internal', {
    common_name: 'Ray pods',
    key_type: 'ec',
    key_bits: 256,
    ttl: '43800h'
  })
  await vault.write('pki/roles/ray-pods', podRole)
  return made.data.certificate
}
