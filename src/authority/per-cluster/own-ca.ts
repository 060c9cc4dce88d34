/**
 * Makes, opens and renews the CA of one RayCluster: an intermediate of path length 0, whose key is ours.
 *
 * Decides the form and what counts as whole. Keys never leave this file but as what is stored and as signatures.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Certificate, keyIdentifierOf } from '../../x509/certificate.ts'
import { readChain } from '../../x509/chain.ts'
import { checkIntermediate } from '../../x509/check-intermediate.ts'
import { createIntermediateRequest } from '../../x509/intermediate.ts'
import { keyIdentifier } from '../../x509/leaf.ts'
import { equalBytes } from '../../x509/public-key.ts'
import { subjectOf } from '../../x509/subject.ts'
import {
  type Authority,
  AuthorityError,
  type IntermediateAuthority,
  type IntermediateRequest,
  type RayClusterReference
} from '../authority.ts'
import { createLocalIssuer, type LocalIssuer, type Sources } from '../local.ts'
import { openPemKey } from '../pem-key.ts'
import { certificateOf, commonNameOf, type OwnCa } from './entries.ts'
import { type Asked, createPending } from './pending.ts'
import { unusable } from './refusals.ts'
import { createStoredKeys, type StoredKeysOptions } from './stored-keys.ts'

export interface OwnCaOptions extends Sources, StoredKeysOptions {
  /** The longest life that a pod's certificate is given. */
  leafSeconds: number
}

/** To be sealed, to be sealed by the key that seals now, to be renewed. */
export type Due = 'unsealed' | 'formerSeal' | 'renewal'

export interface OwnCas {
  /** Where it was asked for before, that one, as soon as it is signed. Throws {@link AuthorityError}. */
  make(rayCluster: RayClusterReference): Promise<OwnCa>
  /** Whether a first one has been asked for, and for which RayClusters of a namespace (their UIDs). */
  isAsked(uid: string): boolean
  asked(namespace: string): string[]
  /**
   * The same key and name with a later end; `undefined` where there is nothing to gain. What was asked for before is used,
   * as with the first. Throws {@link AuthorityError}.
   */
  renewed(own: OwnCa): Promise<OwnCa | undefined>
  /** Throws {@link AuthorityError}. */
  open(own: OwnCa): Promise<LocalIssuer>
  /** What it lacks, whether that can be mended here or not. */
  dueOf(own: OwnCa): Due[]
  /** Whether it should be renewed, or sealed, at the next occasion. */
  isDue(own: OwnCa): boolean
  /** Whether it signs nothing more as it is. */
  isOver(own: OwnCa): boolean
  /** It is what is kept: nothing is asked for any more that it makes needless. */
  stands(own: OwnCa): void
  /** The RayCluster is gone. */
  drop(uid: string): void
  /** First ones that were asked for are of no use to anybody else; renewals are left to the others. */
  close(): void
}

/** The CA lives four times as long as a pod's certificate and is renewed at half of that, so none is ever cut short. */
const lives = 4
const livesLeft = 2
const hourMs = 3_600_000

export function createOwnCas(options: OwnCaOptions): OwnCas {
  const { authority, clock } = options
  const lifetimeSeconds = options.leafSeconds * lives
  const keys = createStoredKeys(options)
  /** UIDs of RayClusters whose CA was signed under another name within the last hour: it would be so again. */
  const unlike = new LRUCache<string, true>({
    ...{ max: 5_000, ttl: hourMs, ttlResolution: 0 },
    perf: { now: clock }
  })
  const pending = createPending({
    sign: signed,
    withdraw(asked) {
      authority.intermediates?.withdraw?.(requestOf(asked))
    },
    clock
  })

  return {
    async make(rayCluster) {
      const { privateKey, certificate } = await pending.signed(rayCluster)
      const key = await keys.store(privateKey, rayCluster.uid)
      return { ...rayCluster, trust: 'perCluster', certificate, key, usedAt: clock() }
    },
    isAsked: pending.hasFirst,
    asked: pending.ofNamespace,
    async renewed(own) {
      const privateKey = await keys.open(own)
      const key = keys.mustSeal(own) ? await keys.store(privateKey, own.uid) : own.key
      if (!isShort(own)) return keys.mustSeal(own) ? { ...own, key } : undefined
      const former = certificateOf(own)
      if (former === undefined) throw unusable(own, 'the certificate cannot be read')
      if (unlike.has(own.uid) && !isOver(own)) throw otherName(own)
      const { certificate } = await pending.signed(own, { privateKey, renews: former })
      const next = certificateOf({ certificate })
      if (next === undefined) throw unusable(own, 'the certificate cannot be read')
      // When it is over, nobody holds anything of it for longer than an hour: better another than none.
      if (!standsIn(former, next) && !isOver(own)) {
        pending.drop(own.uid)
        unlike.set(own.uid, true)
        throw otherName(own)
      }
      if (next.notAfter.getTime() - former.notAfter.getTime() > worthMs(own)) {
        return { ...own, key, certificate }
      }
      pending.drop(own.uid)
      return keys.mustSeal(own) ? { ...own, key } : undefined
    },
    async open(own) {
      const privateKey = await keys.open(own)
      const problems = checkIntermediate(own.certificate, {
        publicKey: spki(privateKey),
        // Attack: who may write the Secret puts the CA of one RayCluster in the place of another's.
        commonName: commonNameOf(own),
        now: new Date(clock()),
        maximumLifetimeSeconds: Number.POSITIVE_INFINITY,
        mayLackPathLength: true
      })
      const reading = readChain(own.certificate, { now: new Date(clock()) })
      if (problems.length > 0 || !reading.usable) {
        throw unusable(own, problems.map(({ detail }) => detail).join(' '))
      }
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
      return createLocalIssuer('perCluster', reading.chain, openPemKey(pem), options)
    },
    dueOf,
    isDue,
    isOver,
    stands(own) {
      const publicKey = certificateOf(own)?.publicKey
      if (!isDue(own)) pending.drop(own.uid)
      else if (publicKey !== undefined) pending.keepOnly(own.uid, publicKey)
    },
    drop: pending.drop,
    close: pending.close
  }

  async function signed(asked: Asked): Promise<string> {
    const signer = signingAuthority(authority)
    const request = requestOf(asked)
    const { publicKey, commonName } = request
    const before = signer.issuers?.()
    const certificate = await signer.issue(request)
    // The CA may have been loaded anew meanwhile: either of them may have signed.
    const after = signer.issuers?.()
    const problems = checkIntermediate(certificate, {
      ...{ publicKey, commonName, now: new Date(clock()) },
      maximumLifetimeSeconds: lifetimeSeconds,
      issuers: before === undefined || after === undefined ? after : `${before}\n${after}`,
      mayLackPathLength: signer.leavesOutPathLength === true
    })
    if (problems.length === 0) return certificate
    const found = problems.map(({ code, detail }) => `${code}: ${detail}`).join(' ')
    throw new AuthorityError(
      'Invalid',
      `The CA for a RayCluster is not as it was asked for: ${found}`
    )
  }

  function requestOf({ rayCluster, privateKey, renews }: Asked): IntermediateRequest {
    const publicKey = spki(privateKey)
    const commonName = commonNameOf(rayCluster)
    const identity = {
      subject: renews?.subject ?? subjectOf(commonName),
      keyIdentifier: (renews && keyIdentifierOf(renews)) ?? keyIdentifier(publicKey)
    }
    const csr = createIntermediateRequest(privateKey, identity)
    return { ...identity, publicKey, csr, commonName, lifetimeSeconds, rayCluster }
  }

  function isDue(own: OwnCa): boolean {
    return keys.mustSeal(own) || isShort(own)
  }

  function dueOf(own: OwnCa): Due[] {
    const kept = keys.kept(own)
    return [...(kept === 'well' ? [] : [kept]), ...(isShort(own) ? (['renewal'] as const) : [])]
  }

  function isOver(own: OwnCa): boolean {
    const { notAfter } = certificateOf(own) ?? {}
    return notAfter === undefined || notAfter.getTime() - clock() < hourMs
  }

  function isShort(own: OwnCa): boolean {
    const { notBefore, notAfter } = certificateOf(own) ?? {}
    if (notBefore === undefined || notAfter === undefined) return false
    const end = notAfter.getTime()
    const now = clock()
    const possible = Math.min(now + lifetimeSeconds * 1000, authority.describe().notAfter.getTime())
    // One that has just been made shorter than was asked would be made so again.
    if (now - notBefore.getTime() < worthMs(own)) return false
    return end - now < options.leafSeconds * livesLeft * 1000 && possible - end > worthMs(own)
  }
}

/** Throws AuthorityError `Invalid`, or `Unavailable` while the authority is away. */
function signingAuthority(authority: Authority): IntermediateAuthority {
  const away = authority.problem?.()
  if (authority.intermediates === undefined && away !== undefined) {
    throw new AuthorityError('Unavailable', `The authority ${away}`)
  }
  const problem = perClusterProblem(authority)
  if (authority.intermediates === undefined || problem !== undefined) {
    throw new AuthorityError('Invalid', `No CA is signed for RayClusters: ${problem}.`)
  }
  return authority.intermediates
}

/** Why it cannot sign a CA for each RayCluster. */
export function perClusterProblem({
  intermediates
}: Pick<Authority, 'intermediates'>): string | undefined {
  return intermediates === undefined
    ? 'this kind of authority signs no CAs'
    : intermediates.problem()
}

/**
 * Pods that run hold the former one as their anchor: it vouches for what the new one signs only under the same names. Key
 * identifiers are compared where both have one (RFC 4158 §3.5.12).
 */
function standsIn(former: Certificate, next: Certificate): boolean {
  const [had, has] = [former, next].map(keyIdentifierOf)
  const sameKey = had === undefined || has === undefined || equalBytes(had, has)
  return sameKey && equalBytes(former.subject, next.subject)
}

function otherName({ namespace, name, certificate }: OwnCa): AuthorityError {
  const end = certificateOf({ certificate })?.notAfter.toISOString()
  return new AuthorityError(
    'Invalid',
    `The CA of the RayCluster ${namespace}/${name} is not renewed: the authority writes its subject or key identifier in other bytes than those that its pods trust. ` +
      `It signs until ${end}; then the RayCluster gets another, and its pods have to be deleted at once (docs/trust.md).`
  )
}

/** A renewal that wins less than an eighth of the whole life is not worth a write. */
function worthMs({ certificate }: OwnCa): number {
  const found = certificateOf({ certificate })
  return found ? (found.notAfter.getTime() - found.notBefore.getTime()) / 8 : 0
}

function spki(key: KeyObject): Uint8Array {
  return createPublicKey(key).export({ type: 'spki', format: 'der' })
}
