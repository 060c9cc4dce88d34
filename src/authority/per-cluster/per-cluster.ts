/**
 * An authority that gives each RayCluster a CA of its own, signed by the authority within, and certificates below it.
 *
 * Pods trust the CA of their cluster alone: no certificate of another cluster, and none that the authority within signs for
 * anybody else, lets anyone join. Where the record says `shared` it serves the RayClusters that are still to change.
 */
import { createQuota } from '../../flow/quota.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import { keyIdentifier } from '../../x509/leaf.ts'
import { authorityKeySha256 } from '../../x509/same-authority.ts'
import {
  type Authority,
  AuthorityError,
  type LeafRequest,
  type RayClusterReference
} from '../authority.ts'
import type { LocalIssuer } from '../local.ts'
import { certificateOf, type Entry, isUid, type OwnCa } from './entries.ts'
import { createMemory, type InUse, type Memory } from './memory.ts'
import { createOwnCas, type OwnCaOptions, type OwnCas } from './own-ca.ts'
import type { TrustRecord } from './record.ts'
import { damaged, exhausted, headless, lost, unjudged } from './refusals.ts'
import { type ClusterSecrets, isMadeAnew, type Place } from './secrets.ts'
import { type ClusterPod, holdAnother, mayTrustOwn, type Standing, standingOf } from './standing.ts'

export interface PerClusterOptions extends OwnCaOptions {
  secrets: ClusterSecrets
  /** Which setting holds now, whatever that of this replica is. Throws KubernetesError and AuthorityError. */
  record(): Promise<TrustRecord>
  /** Milliseconds since the epoch, as the API server counts them; `clock` counts for certificates. */
  apiClock: () => number
  /** The live pods of a RayCluster that have our TLS; `undefined` while they are not known. */
  podsOf(rayCluster: RayClusterReference): readonly ClusterPod[] | undefined
  /** CAs that a namespace may hold at one time, and that this replica asks for within an hour. */
  perNamespace: number
  onChange(change: OwnCaChange, rayCluster: RayClusterReference): void
}

export type OwnCaChange =
  | 'made'
  | 'renewed'
  /** The same CA, by the key that seals now. */
  | 'sealed'
  | 'restored'
  | 'removed'
  /** By the quota. */
  | 'refused'

export interface PerClusterAuthority
  extends Authority,
    Pick<Memory, 'used' | 'held' | 'noted' | 'follow' | 'drop'> {
  readonly ownCas: OwnCas
  /** Whether its pods may trust it: where its Secret has been lost, it may have been released before. */
  isMissed(own: OwnCa, record: Pick<TrustRecord, 'trust'>): boolean
  /** Whether its pods say that theirs is another one, which has come in its place since it was last seen here. */
  isReplaced(own: OwnCa): boolean
}

interface Agreement {
  standing: Standing
  /** What was written for it. */
  changed: OwnCaChange | undefined
  entry: Entry | undefined
  /** With `make`: the UIDs of the namespace's RayClusters that have a CA. */
  ownCas: string[]
  /** Of the record that it rests on. */
  since: number
}

/** A CA that has been signed, for what the Secret says of the RayCluster. */
interface Offer {
  ca: OwnCa
  /** The certificate that it renews; `undefined`: there is none. */
  inPlaceOf: string | undefined
}

const hourSeconds = 3600

export function createPerClusterAuthority(options: PerClusterOptions): PerClusterAuthority {
  const { authority, secrets, clock, apiClock } = options
  const ownCas = createOwnCas(options)
  const memory = createMemory(ownCas, clock)
  const asking = new Map<string, Promise<LocalIssuer | undefined>>()
  const hourly = createQuota({ burst: options.perNamespace, periodSeconds: hourSeconds, clock })

  return {
    namesFrom: authority.namesFrom,
    // Below a CA of the cluster it is the server that writes the names, whatever the authority within needs.
    ...(authority.namesFrom === 'request'
      ? {
          namesFor: async (rayCluster: RayClusterReference) =>
            (await issuerFor(rayCluster)) === undefined ? authority.namesFrom : 'server'
        }
      : {}),
    async issue(request: LeafRequest) {
      const issuer = await issuerFor(request.rayCluster)
      return await (issuer ?? authority).issue(request)
    },
    describe: () => authority.describe(),
    problem: () => authority.problem?.(),
    async close() {
      ownCas.close()
      await authority.close()
    },
    used: memory.used,
    held: memory.held,
    noted: memory.noted,
    follow: memory.follow,
    drop: memory.drop,
    ownCas,
    isMissed,
    isReplaced
  }

  /** `undefined`: the authority within signs for this RayCluster. */
  async function issuerFor(rayCluster: RayClusterReference): Promise<LocalIssuer | undefined> {
    const { uid } = rayCluster
    const { trust, since, settled } = await reached(options.record)
    if (trust === 'shared' && settled) return undefined
    if (!isUid(uid)) throw new AuthorityError('Invalid', 'The UID of the RayCluster is none.')
    const known = trust === 'perCluster' ? memory.inUse.get(uid) : undefined
    if (known?.since === since && isFresh(known) && !ownCas.isOver(known.own)) return known.issuer
    // The first pods of a RayCluster come together: one of them asks for all.
    const answer =
      asking.get(uid) ?? reached(() => found(rayCluster)).finally(() => asking.delete(uid))
    asking.set(uid, answer)
    return await answer
  }

  async function reached<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step()
    } catch (cause) {
      if (!(cause instanceof KubernetesError)) throw cause
      const why = `The CAs of Ray clusters cannot be read or written: ${cause.message}`
      throw new AuthorityError('Unavailable', why, { cause })
    }
  }

  async function found(rayCluster: RayClusterReference): Promise<LocalIssuer | undefined> {
    let agreement = await agreed(rayCluster)
    const offered = await offerFor(rayCluster, agreement)
    if (offered !== undefined) agreement = await agreed(rayCluster, offered)
    const { standing, entry, since } = agreement
    const serves = standing === 'own' || standing === 'stillOwn' || standing === 'make'
    if (!serves || entry?.trust !== 'perCluster') return undefined
    const issuer = await ownCas.open(entry)
    memory.use({ own: entry, issuer, since })
    return issuer
  }

  /** Outside of the turn: one that signs slowly must not hold up the other RayClusters of the same Secret. */
  async function offerFor(
    rayCluster: RayClusterReference,
    { standing, entry, ownCas: others }: Agreement
  ): Promise<Offer | undefined> {
    if (standing === 'make') {
      return { ca: await makeWithin(rayCluster, others), inPlaceOf: undefined }
    }
    if (entry?.trust !== 'perCluster' || !ownCas.isOver(entry)) return undefined
    const ca = await ownCas.renewed(entry)
    return ca && { ca, inPlaceOf: entry.certificate }
  }

  /** What stands for a RayCluster when everything is written that follows from it. */
  async function agreed(rayCluster: RayClusterReference, offered?: Offer): Promise<Agreement> {
    const agreement: Agreement = {
      standing: 'shared',
      changed: undefined,
      entry: undefined,
      ownCas: [],
      since: 0
    }
    const { found, seenIn } = await secrets.change(rayCluster, async (current, place) => {
      // Now, and not when the pod asked: what was read before the turn came may be old.
      const record = await options.record()
      const before = whole(current, place, { rayCluster, record })
      const standing = standingOf({
        record,
        found: before,
        pods: livePods(rayCluster),
        now: apiClock()
      })
      Object.assign(agreement, { standing, changed: undefined, since: record.since })
      switch (standing) {
        case 'own':
        case 'stillOwn': {
          if (before?.trust !== 'perCluster') return 'keep'
          const renewed = before.certificate === offered?.inPlaceOf ? offered.ca : undefined
          if (renewed) agreement.changed = 'renewed'
          else if (before !== current) agreement.changed = 'restored'
          const next = renewed ?? before
          if (standing === 'stillOwn' && mustDate(next)) return { ...next, usedAt: apiClock() }
          return agreement.changed ? next : 'keep'
        }
        case 'make':
          agreement.ownCas = place.ownCas()
          if (offered === undefined) return 'keep'
          // Again, in the write itself: what another replica has written meanwhile counts too.
          if (agreement.ownCas.length >= options.perNamespace) {
            refuse(rayCluster, agreement.ownCas.length)
          }
          agreement.changed = 'made'
          return { ...offered.ca, usedAt: apiClock() }
        case 'stillShared': {
          if (before?.trust === 'shared' && !mustDate(before)) return 'keep'
          return { ...rayCluster, trust: 'shared', usedAt: apiClock() }
        }
        case 'release':
          agreement.changed = 'removed'
          return 'remove'
        case 'shared':
          return 'keep'
        case 'headless':
          throw headless(rayCluster)
        case 'lost':
          throw lost(rayCluster, place)
        case 'unjudged':
          throw unjudged()
        default: {
          const unknown: never = standing
          throw new Error(`there is no standing ${String(unknown)}`)
        }
      }
    })
    if (agreement.changed) options.onChange(agreement.changed, rayCluster)
    const entry = found === 'damaged' ? undefined : found
    memory.note(rayCluster, entry, seenIn)
    return { ...agreement, entry }
  }

  function livePods(rayCluster: RayClusterReference): readonly ClusterPod[] {
    const pods = options.podsOf(rayCluster)
    if (pods !== undefined) return pods
    throw new AuthorityError('Unavailable', 'The running Ray clusters are not known (yet).')
  }

  function isMissed(rayCluster: RayClusterReference, record: TrustRecord): boolean {
    const pods = livePods(rayCluster)
    if (pods.some(({ certificate }) => certificate === 'unjudged')) throw unjudged()
    return mayTrustOwn(record, pods)
  }

  function isReplaced(own: OwnCa): boolean {
    const certificate = certificateOf(own)
    if (certificate === undefined) return false
    const { publicKey } = certificate
    // A renewal by another authority may have added the identifier, or left it out.
    const identifiers = [undefined, 'none', keyIdentifier(publicKey)] as const
    const keys = identifiers.map(each => authorityKeySha256(certificate, each))
    return holdAnother(livePods(own), keys)
  }

  /** A Secret that was deleted or damaged is brought back from what is in use here. */
  function whole(
    current: Entry | 'damaged' | undefined,
    place: Place,
    { rayCluster, record }: { rayCluster: RayClusterReference; record: TrustRecord }
  ): Entry | undefined {
    const { uid } = rayCluster
    const isLost = current === undefined && isMadeAnew(place, memory.held.get(uid)?.seenIn)
    if (current !== 'damaged' && !isLost) return current
    if (isLost && !isMissed(rayCluster, record)) return undefined
    const used = memory.used.get(uid)
    const remembered = used && isReplaced(used) ? undefined : used
    if (remembered !== undefined || current === undefined) return remembered
    throw damaged(rayCluster, place)
  }

  /** Attack: RayClusters made without end, each with a CA that is signed outside and kept here. */
  async function makeWithin(rayCluster: RayClusterReference, others: string[]): Promise<OwnCa> {
    const { namespace, uid } = rayCluster
    // Once for each, however often its pods come: what is asked for may be signed at any time.
    if (ownCas.isAsked(uid)) return await ownCas.make(rayCluster)
    const count = new Set([...others, ...ownCas.asked(namespace)]).size
    if (count >= options.perNamespace || hourly.take(namespace) > 0) {
      refuse(rayCluster, count)
    }
    return await ownCas.make(rayCluster)
  }

  function refuse(rayCluster: RayClusterReference, count: number): never {
    options.onChange('refused', rayCluster)
    throw exhausted(rayCluster, count, options.perNamespace)
  }

  /** Else another CA may have come in its place while the rounds of upkeep failed here. */
  function isFresh({ seenAt }: Pick<InUse, 'seenAt'>): boolean {
    return Math.abs(clock() - seenAt) <= freshForMs
  }

  function mustDate({ usedAt = 0 }: Entry): boolean {
    return apiClock() - usedAt > dateEveryMs
  }
}

/** Often enough that a signature is never much younger than it looks, by what `standing.ts` allows for. */
const dateEveryMs = 10_000
/** Three rounds of upkeep, each of which sees all that stand. */
const freshForMs = 15 * 60_000
