/**
 * What an authority has been asked to sign for RayClusters and has not signed yet.
 *
 * A signer may take minutes, a person who approves hours, and no enrollment waits so long. So what was asked stays asked:
 * key and certificate are kept, by the UID of the RayCluster, for whoever comes next. A new key each time would be a new
 * request each time, and none of them would ever be through.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Certificate } from '../../x509/certificate.ts'
import { makeKeyPairSync } from '../../x509/new-key.ts'
import { equalBytes } from '../../x509/public-key.ts'
import { AuthorityError, type RayClusterReference } from '../authority.ts'
import { inTime } from '../in-time.ts'
import { begunAnew } from './refusals.ts'

export interface Signed {
  privateKey: KeyObject
  /** PEM. */
  certificate: string
}

export interface Asked {
  rayCluster: RayClusterReference
  privateKey: KeyObject
  /** The certificate that is renewed. */
  renews?: Certificate
}

export interface PendingOptions {
  /** Throws {@link AuthorityError}. */
  sign(asked: Asked): Promise<string>
  /** Nobody wants the signature any more. */
  withdraw(asked: Asked): void
  /** Milliseconds since the epoch. */
  clock: () => number
  /** How long the second and each further try is waited for. Default 1000. */
  patienceMs?: number
}

export interface Pending {
  /**
   * For the key of `former`; without it a first one, for the key of a former try or a new one. Goes on asking behind a
   * caller who is sent away. Throws {@link AuthorityError}.
   */
  signed(
    rayCluster: RayClusterReference,
    former?: Required<Omit<Asked, 'rayCluster'>>
  ): Promise<Signed>
  /** Whether a first one has been asked for; a renewal is none. */
  hasFirst(uid: string): boolean
  /** The UIDs of a namespace's RayClusters for which a first CA has been asked. */
  ofNamespace(namespace: string): string[]
  /** Another key than this one has lost. */
  keepOnly(uid: string, publicKey: Uint8Array): void
  drop(uid: string): void
  /**
   * The keys of first ones go with this process, and with them the use of what was asked. Renewals have keys that stand in a
   * Secret: other replicas may be waiting for the same signatures, and they stay.
   */
  close(): void
}

interface Entry extends Asked {
  certificate?: string
  trying?: Promise<string> | undefined
  /** A try has ended without a signature. */
  slow: boolean
  /** The answer was none that can be used, and would be so again. */
  wrong?: { error: AuthorityError; at: number }
}

/** After the last who came; requests in the Kubernetes API that nobody comes for are kept as long. */
const keptMs = 3_600_000
/** Attack: RayClusters without end, all pending. Quotas of namespaces come first. */
const most = 5_000
/** Attack: pods that come again and again, each time a CA that nobody uses is signed. */
const pauseMs = 5 * 60_000
/** Pods that wait for a person must not take the places of those that could be served. */
const defaultPatienceMs = 1_000

export function createPending(options: PendingOptions): Pending {
  const { sign, withdraw, clock, patienceMs = defaultPatienceMs } = options
  let closing = false
  const asked = new LRUCache<string, Entry>({
    max: most,
    ttl: keptMs,
    ttlResolution: 0,
    updateAgeOnGet: true,
    perf: { now: clock },
    dispose(entry) {
      const isOfOthers = closing && entry.renews !== undefined
      if (entry.certificate === undefined && !isOfOthers) withdraw(entry)
    }
  })

  return {
    async signed(rayCluster, former) {
      const entry = entryFor(rayCluster, former)
      const certificate = entry.certificate ?? (await tried(entry))
      return { privateKey: entry.privateKey, certificate }
    },
    hasFirst(uid) {
      const entry = asked.peek(uid)
      return entry !== undefined && entry.renews === undefined
    },
    ofNamespace: namespace =>
      [...asked.values()]
        .filter(
          ({ renews, rayCluster }) => renews === undefined && rayCluster.namespace === namespace
        )
        .map(({ rayCluster }) => rayCluster.uid),
    keepOnly(uid, publicKey) {
      const entry = asked.peek(uid)
      if (entry !== undefined && !equalBytes(spki(entry.privateKey), publicKey)) asked.delete(uid)
    },
    drop: uid => void asked.delete(uid),
    close() {
      closing = true
      asked.clear()
    }
  }

  function entryFor(
    { namespace, name, uid }: RayClusterReference,
    former: Omit<Asked, 'rayCluster'> | undefined
  ): Entry {
    const known = asked.get(uid)
    if (known !== undefined && isFor(known, former)) return known
    if (former !== undefined && known && isAwaited(known)) throw begunAnew({ namespace, name })
    const content = former ?? { privateKey: makeKeyPairSync().privateKey }
    const entry = { ...content, rayCluster: { namespace, name, uid }, slow: false }
    asked.set(uid, entry)
    return entry
  }

  /** Whoever comes while it is tried joins. */
  async function tried(entry: Entry): Promise<string> {
    if (entry.wrong !== undefined && clock() - entry.wrong.at < pauseMs) throw entry.wrong.error
    entry.trying ??= attempt(entry).finally(() => {
      entry.trying = undefined
    })
    if (!entry.slow) return await entry.trying
    const why = 'The CA of the RayCluster has been asked for and is not signed yet.'
    return await inTime(entry.trying, patienceMs, why)
  }

  async function attempt(entry: Entry): Promise<string> {
    try {
      entry.certificate = await sign(entry)
      return entry.certificate
    } catch (error) {
      entry.slow = true
      if (error instanceof AuthorityError && error.code === 'Invalid') {
        entry.wrong = { error, at: clock() }
      }
      throw error
    }
  }
}

/** Whoever begins anew wants a new key: that of a renewal is one that somebody has taken away. */
function isFor(known: Entry, former: Omit<Asked, 'rayCluster'> | undefined): boolean {
  if (former === undefined) return known.renews === undefined
  return known.privateKey.equals(former.privateKey)
}

/** A first one that a pod waits for: what it would renew was taken away before. */
function isAwaited({ renews, certificate }: Entry): boolean {
  return renews === undefined && certificate === undefined
}

function spki(key: KeyObject): Uint8Array {
  return createPublicKey(key).export({ type: 'spki', format: 'der' })
}
