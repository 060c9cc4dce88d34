/**
 * How the key of a RayCluster's CA is kept: sealed where the authority can, else as it is.
 *
 * Decides which keys are taken for ours. A sealed one says so itself: only the authority could seal it, for this UID. One
 * that is not sealed, where it could be, is ours only if a known CA has signed for it.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { checkIntermediate } from '../../x509/check-intermediate.ts'
import { type Authority, AuthorityError } from '../authority.ts'
import { certificateOf, commonNameOf, type OwnCa, type StoredKey } from './entries.ts'
import { unusable, unvouched } from './refusals.ts'

export interface StoredKeysOptions {
  authority: Authority
  /** PEM of what the administrator names beside the CA that signs: the CAs of a former authority. */
  alsoTrusted?(): string
}

export interface StoredKeys {
  /** Throws {@link AuthorityError}. */
  store(privateKey: KeyObject, uid: string): Promise<StoredKey>
  /** Throws {@link AuthorityError}. */
  open(own: OwnCa): Promise<KeyObject>
  /** As it should be; or not sealed, although the authority seals; or by a key that is not the one that seals now. */
  kept(own: Pick<OwnCa, 'key'>): 'well' | 'unsealed' | 'formerSeal'
  /** It is not kept well, and this authority can change that. */
  mustSeal(own: Pick<OwnCa, 'key'>): boolean
}

export function createStoredKeys({ authority, alsoTrusted }: StoredKeysOptions): StoredKeys {
  return {
    async store(privateKey, uid) {
      const plain = privateKey.export({ type: 'pkcs8', format: 'der' })
      const { protection } = authority
      if (protection === undefined) return { plain: plain.toString('base64') }
      const sealed = Buffer.from(await protection.seal(plain, uid)).toString('base64')
      return { sealed, sealedBy: protection.kind }
    },
    async open(own) {
      if (!('plain' in own.key)) return parsed(own, await unsealed(own, own.key))
      const privateKey = parsed(own, Buffer.from(own.key.plain, 'base64'))
      if (authority.protection !== undefined) refuseUnvouched(own, privateKey)
      return privateKey
    },
    kept,
    mustSeal(own) {
      const isOpenable = 'plain' in own.key || authority.protection?.kind === own.key.sealedBy
      return isOpenable && kept(own) !== 'well'
    }
  }

  function kept({ key }: Pick<OwnCa, 'key'>): ReturnType<StoredKeys['kept']> {
    const { protection } = authority
    if ('plain' in key) return protection === undefined ? 'well' : 'unsealed'
    // Nobody can open it here, and whoever could must not be told that it is not needed.
    if (protection?.kind !== key.sealedBy) return 'formerSeal'
    const current = protection.isCurrent?.(Buffer.from(key.sealed, 'base64'))
    return current === false ? 'formerSeal' : 'well'
  }

  async function unsealed(
    { uid, namespace, name }: OwnCa,
    { sealed, sealedBy }: { sealed: string; sealedBy: string }
  ): Promise<Uint8Array> {
    const { protection } = authority
    if (protection?.kind === sealedBy) {
      return await protection.open(Buffer.from(sealed, 'base64'), uid)
    }
    throw new AuthorityError(
      'Unavailable',
      `The CA of the RayCluster ${namespace}/${name} is sealed by ${sealedBy}, which this authority does not hold.`
    )
  }

  /**
   * Attack: who may write the Secret, and has neither HSM nor Vault, puts a key of their own there, unsealed; its CA would
   * be what new pods trust. The key itself must be vouched for, beside another one the certificate of a cluster is public; and
   * as that of a CA: a signer that is asked for a leaf may give it any subject.
   */
  function refuseUnvouched(own: OwnCa, privateKey: KeyObject): void {
    const issuers = authority.intermediates?.issuers?.()
    if (issuers === undefined) {
      const { namespace, name } = own
      throw new AuthorityError(
        'Unavailable',
        `The CA of the RayCluster ${namespace}/${name} is not sealed, and is not used before the authority is there.`
      )
    }
    const problems = checkIntermediate(own.certificate, {
      publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
      commonName: commonNameOf(own),
      issuers: `${issuers}\n${alsoTrusted?.() ?? ''}`,
      // One that is over is renewed all the same.
      now: certificateOf(own)?.notBefore ?? new Date(0),
      maximumLifetimeSeconds: Number.POSITIVE_INFINITY,
      mayLackPathLength: true
    })
    if (problems.length > 0) throw unvouched(own)
  }
}

function parsed(own: OwnCa, bytes: Uint8Array): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(bytes), format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw unusable(own, 'the key cannot be read', cause)
  }
}
