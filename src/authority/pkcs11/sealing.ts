/**
 * Seals by a secret key that stays in the token.
 *
 * The token makes a key for each thing that is sealed (NIST SP 800-108r1 §4.1, counter mode with HMAC-SHA-256), and AES-256-GCM
 * does the rest here. For `CKM_SHA256_HMAC` is what tokens have in common: some know no AES-GCM, others choose the IV
 * themselves, each in a way of its own. Context and salt are in the key, so nothing opens under another context, and no key
 * is ever used twice.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { AuthorityError, type KeyProtection } from '../authority.ts'
import { tryProtection } from '../try-protection.ts'
import type { KeyUse } from './token.ts'
import type { TokenKey } from './token-key.ts'

export interface SealingOptions {
  key: Pick<TokenKey, 'sign'>
  hasFormer: boolean
  random: (size: number) => Uint8Array
}

type SealingUse = Exclude<KeyUse, 'signing'>

/** PKCS#11 2.40 current mechanisms §2.21.3. */
const sha256Hmac = { mechanism: 0x251, size: 32 }
const cipher = 'aes-256-gcm'
const version = 1
/** What a sealed thing begins with: version, mark of the key, salt, IV, tag of GCM; the rest is what was sealed. */
const sizes = { version: 1, mark: 8, salt: 32, iv: 12, tag: 16 }

/** Throws AuthorityError where the token does not do it. */
export async function openSealing(options: SealingOptions): Promise<KeyProtection> {
  const { key, hasFormer, random } = options
  const mark = await markOf('sealing')
  const formerMark = hasFormer ? await markOf('formerSealing') : undefined
  const protection: KeyProtection = {
    kind: 'pkcs11',
    async seal(plain, context) {
      const [salt, iv] = [random(sizes.salt), random(sizes.iv)]
      const once = await derived('sealing', 'seal', salt, Buffer.from(context))
      // With each login the key is looked up anew: what another one has sealed must not pass for this one's.
      if (!(await markOf('sealing')).equals(mark)) throw replaced()
      const sealing = createCipheriv(cipher, once, iv, { authTagLength: sizes.tag })
      sealing.setAAD(Buffer.from(context))
      const bytes = Buffer.concat([sealing.update(plain), sealing.final()])
      once.fill(0)
      return Buffer.concat([Buffer.of(version), mark, salt, iv, sealing.getAuthTag(), bytes])
    },
    async open(sealed, context) {
      const parts = partsOf(sealed)
      const once = await derived(useOf(parts.mark), 'seal', parts.salt, Buffer.from(context))
      const opening = createDecipheriv(cipher, once, parts.iv, { authTagLength: sizes.tag })
      opening.setAAD(Buffer.from(context)).setAuthTag(parts.tag)
      try {
        return Buffer.concat([opening.update(parts.bytes), opening.final()])
      } catch (cause) {
        const why = 'What was sealed does not open: it was changed, or sealed for something else.'
        throw new AuthorityError('Refused', why, { cause })
      } finally {
        once.fill(0)
      }
    },
    isCurrent: sealed =>
      Buffer.from(sealed)
        .subarray(1, 1 + sizes.mark)
        .equals(mark)
  }
  if ((await tryProtection(protection)) === 'good') return protection
  throw new AuthorityError('Invalid', 'The token does not give back what its key has sealed.')

  /** Tells the keys apart, whatever their labels are, and nothing about them. */
  async function markOf(use: SealingUse): Promise<Buffer> {
    return (await derived(use, 'mark')).subarray(0, sizes.mark)
  }

  function replaced(): AuthorityError {
    return new AuthorityError(
      'Unavailable',
      'The key of authority.sealing is another one than when this server started, and what the former one has sealed does not open with it. ' +
        'Give a new key a name of its own and name the former one in authority.sealing.former.'
    )
  }

  function useOf(found: Buffer): SealingUse {
    if (found.equals(mark)) return 'sealing'
    if (formerMark !== undefined && found.equals(formerMark)) return 'formerSealing'
    throw new AuthorityError(
      'Unavailable',
      'It was sealed by another key of the token; name that in authority.sealing.former.'
    )
  }

  async function derived(use: SealingUse, purpose: string, ...context: Uint8Array[]) {
    const label = Buffer.from(`rayguard ${purpose}`)
    // Counter, label, zero, context, and the length in bits.
    const input = [Buffer.of(0, 0, 0, 1), label, Buffer.of(0), ...context, Buffer.of(0, 0, 1, 0)]
    return Buffer.from(await key.sign({ ...sha256Hmac, by: use }, Buffer.concat(input)))
  }
}

function partsOf(sealed: Uint8Array) {
  let rest = Buffer.from(sealed)
  const next = (size: number) => {
    const part = rest.subarray(0, size)
    rest = rest.subarray(size)
    return part
  }
  const [found, mark, salt] = [next(sizes.version), next(sizes.mark), next(sizes.salt)]
  const [iv, tag] = [next(sizes.iv), next(sizes.tag)]
  if (found[0] === version && tag.length === sizes.tag) return { mark, salt, iv, tag, bytes: rest }
  throw new AuthorityError('Refused', 'What was sealed is not in the form of this version.')
}
