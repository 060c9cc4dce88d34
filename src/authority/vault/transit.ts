/**
 * Seals by a key of Vault's transit secrets engine (https://developer.hashicorp.com/vault/api-docs/secret/transit).
 *
 * The context is sent in both ways that Vault knows: as associated data (bound to what is sealed) and, for keys that are
 * derived, as what the key is derived from.
 */
import { AuthorityError, type KeyProtection } from '../authority.ts'
import { tryProtection } from '../try-protection.ts'
import type { Session } from './session.ts'

export interface TransitSettings {
  mount: string
  key: string
}

export function transitPaths({ mount, key }: TransitSettings) {
  return { encrypt: `${mount}/encrypt/${key}`, decrypt: `${mount}/decrypt/${key}` }
}

/** Throws AuthorityError where the key cannot seal, or does not bind the context. */
export async function openTransit(
  session: Session,
  settings: TransitSettings
): Promise<KeyProtection> {
  const protection = createTransit(session, settings)
  switch (await tryProtection(protection)) {
    case 'good':
      return protection
    case 'lost':
      throw new AuthorityError('Invalid', 'Vault’s transit key does not give back what it sealed.')
    case 'unbound':
      throw new AuthorityError(
        'Invalid',
        `The transit key ${settings.key} opens what was sealed under another context; use a key of the type aes256-gcm96, and Vault 1.11 or newer.`
      )
  }
}

function createTransit(session: Session, settings: TransitSettings): KeyProtection {
  const paths = transitPaths(settings)
  /** Of the key, by what it sealed last. */
  let version: string | undefined
  return {
    kind: 'vault-transit',
    async seal(plain, context) {
      const plaintext = base64(plain)
      const body = { plaintext, ...bound(context) }
      const ciphertext = field(await session.post(paths.encrypt, body, [plaintext]), 'ciphertext')
      version = versionOf(ciphertext)
      return Buffer.from(ciphertext, 'latin1')
    },
    async open(sealed, context) {
      const ciphertext = Buffer.from(sealed).toString('latin1')
      const body = { ciphertext, ...bound(context) }
      return Buffer.from(field(await session.post(paths.decrypt, body), 'plaintext'), 'base64')
    },
    isCurrent: sealed => versionOf(Buffer.from(sealed).toString('latin1')) === version
  }
}

/** `vault:v2:…` becomes `v2`. */
function versionOf(ciphertext: string): string | undefined {
  return ciphertext.split(':')[1]
}

function bound(context: string): { context: string; associated_data: string } {
  const text = base64(Buffer.from(context))
  return { context: text, associated_data: text }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function field(answer: Record<string, unknown>, name: 'ciphertext' | 'plaintext'): string {
  const found = ((answer.data ?? {}) as Record<string, unknown>)[name]
  if (typeof found === 'string') return found
  throw new AuthorityError('Unavailable', `Vault’s transit answers without ${name}.`)
}
