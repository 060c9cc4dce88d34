/**
 * Looks after the CAs of Ray clusters now and then: renews what nears its end, seals what is not sealed, brings back what
 * was deleted, and takes away what no RayCluster needs any more.
 *
 * All replicas do it; the API's optimistic concurrency sees to it that nothing is done twice. Decides nothing about pods.
 */
import { type Entry, entryIn, type Found, mayBeCa, type OwnCa } from './entries.ts'
import { isSame } from './memory.ts'
import type { Due } from './own-ca.ts'
import type { OwnCaChange, PerClusterAuthority } from './per-cluster.ts'
import { settle, settlingMs, type TrustRecord } from './record.ts'
import { type ClusterSecrets, isMadeAnew } from './secrets.ts'

export interface UpkeepOptions {
  authority: PerClusterAuthority
  secrets: ClusterSecrets
  /** Throws KubernetesError and AuthorityError. */
  record(): Promise<TrustRecord>
  /** Whether it is there, by name and UID. Throws KubernetesError. */
  exists(entry: Entry): Promise<boolean>
  /** Live pods of it run, as far as a watch shows. */
  runs(entry: Entry): boolean
  /** Any live pod holds a certificate of a CA that is not the shared one; `undefined` while that cannot be told. */
  foreign(): boolean | undefined
  /** Milliseconds that never go back. */
  clock: () => number
  /** Milliseconds since the epoch, by the API server's clock. */
  apiClock: () => number
  everyMs: number
  onChange(change: OwnCaChange, entry: Entry): void
  onFault(error: unknown): void
}

export type DueCas = Record<Due, number>

export interface Upkeep {
  /** One whole round. Throws nothing. */
  look(): Promise<void>
  /** How many CAs the last round left with something to be done; `undefined` where it was not whole, or the authority away. */
  due(): DueCas | undefined
  start(): void
  stop(): Promise<void>
}

/** A RayCluster has to be gone for so long: an API server that is just starting may say so of all. */
const goneForMs = 10 * 60_000

export function createUpkeep(options: UpkeepOptions): Upkeep {
  const { authority, secrets, clock, apiClock } = options
  const goneSince = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let stopped = false
  let due: DueCas | undefined

  return {
    look,
    due: () => due,
    start: again,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    }
  }

  function again(): void {
    running = look().then(() => {
      if (stopped) return
      timer = setTimeout(again, options.everyMs)
      timer.unref()
    })
  }

  async function look(): Promise<void> {
    try {
      const record = await options.record()
      if (record.trust === 'shared' && record.settled) {
        forgetAll()
        due = counted([])
      } else due = await lookAtAll(record)
    } catch (error) {
      due = undefined
      options.onFault(error)
    }
  }

  async function lookAtAll(record: TrustRecord): Promise<DueCas | undefined> {
    const seen = new Set<string>()
    /** As they stand in the end, whatever fails. */
    const cas = new Map<string, OwnCa>()
    const changed = isChanged(record)
    authority.noted.clear()
    let left = false
    for await (const { uid: seenIn, data = {} } of secrets.all()) {
      for (const uid of Object.keys(data)) {
        if (stopped) return undefined
        const entry = entryIn(data, uid)
        left ||= mayBeCa(entry)
        if (entry === undefined || entry === 'damaged') continue
        seen.add(uid)
        if (entry.trust === 'perCluster') cas.set(uid, entry)
        await attempted(() =>
          changed && entry.trust === 'shared' ? clear(entry) : tend(entry, seenIn, cas)
        )
      }
    }
    for (const used of [...authority.used.values()]) {
      if (!seen.has(used.uid)) await attempted(() => bringBack(used, cas))
    }
    // What could not be brought back is tried again, by what is known of where it was.
    const isOver = (uid: string) => !seen.has(uid) && !authority.used.has(uid)
    for (const uid of [...authority.held.keys()]) if (isOver(uid)) authority.held.delete(uid)
    // Also what another replica has taken away.
    for (const uid of [...goneSince.keys()]) if (isOver(uid)) goneSince.delete(uid)
    // Also what came back in this round, or is in use here and could not be brought back.
    left ||= authority.used.size > 0 || (options.foreign() ?? true)
    if (changed && !left) await settle(secrets, record)
    // While the authority is away nobody knows by which of its keys they are sealed.
    if (authority.problem?.() !== undefined) return undefined
    return counted([...cas.values()].flatMap(authority.ownCas.dueOf))
  }

  /** No RayCluster has a CA of its own any more, also none that has been in use here. */
  function forgetAll(): void {
    for (const uid of [...authority.used.keys()]) authority.drop(uid)
    authority.held.clear()
    goneSince.clear()
  }

  /** What fails for one RayCluster is no reason to leave the others. */
  async function attempted(step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      options.onFault(error)
    }
  }

  /** To `shared`, and every replica knows. */
  function isChanged({ trust, since }: TrustRecord): boolean {
    return trust === 'shared' && apiClock() >= since + settlingMs
  }

  /** A RayCluster that is on the shared CA has no need to be told apart from others any more. */
  async function clear(entry: Entry): Promise<void> {
    await secrets.change(entry, async current => {
      const isOnShared = typeof current === 'object' && current.trust === 'shared'
      return isOnShared && isChanged(await options.record()) ? 'remove' : 'keep'
    })
    authority.held.delete(entry.uid)
  }

  async function tend(
    entry: Entry,
    seenIn: string | undefined,
    cas: Map<string, OwnCa>
  ): Promise<void> {
    const { uid, namespace, name } = entry
    if (await isGone(entry)) {
      await secrets.change(entry, async () => 'remove')
      cas.delete(uid)
      authority.drop(uid)
      options.onChange('removed', entry)
      return
    }
    const stands = entry.trust === 'perCluster' ? await asItStands(entry) : entry
    if (stands === undefined) {
      cas.delete(uid)
      return
    }
    authority.held.set(uid, { namespace, name, trust: stands.trust, seenIn })
    if (stands.trust === 'perCluster') await tendOwn(stands, cas)
  }

  async function tendOwn(own: OwnCa, cas: Map<string, OwnCa>): Promise<void> {
    cas.set(own.uid, own)
    // At once: opening may last, and what is asked for meanwhile is another.
    authority.ownCas.stands(own)
    await authority.follow(own)
    const change = authority.ownCas.isDue(own) ? await renew(own, cas) : undefined
    if (change !== undefined) options.onChange(change, own)
  }

  /** Read again where it is not what is known here: others may have changed it since the round has read it. */
  async function asItStands(entry: OwnCa): Promise<OwnCa | undefined> {
    const { uid } = entry
    const used = authority.used.get(uid)
    const isUnheardOf = !authority.noted.has(uid) && !authority.ownCas.isAsked(uid)
    if (used ? isSame(used, entry) : isUnheardOf) return entry
    return ownCaIn((await secrets.change(entry, async () => 'keep')).found)
  }

  /** Signed outside of the turn, which the enrollments of other RayClusters wait for too. */
  async function renew(
    entry: OwnCa,
    cas: Map<string, OwnCa>
  ): Promise<'renewed' | 'sealed' | undefined> {
    // Another replica may have done it since the round began.
    const current = ownCaIn((await secrets.change(entry, async () => 'keep')).found)
    if (current !== undefined) cas.set(entry.uid, current)
    if (current === undefined || !authority.ownCas.isDue(current)) return undefined
    const next = await authority.ownCas.renewed(current)
    if (next === undefined) return undefined
    let written = false
    const { found } = await secrets.change(entry, async present => {
      const own = ownCaIn(present)
      written = own?.certificate === current.certificate
      return own && written ? { ...own, key: next.key, certificate: next.certificate } : 'keep'
    })
    const stands = ownCaIn(found)
    if (stands !== undefined) {
      authority.ownCas.stands(stands)
      cas.set(entry.uid, stands)
      await authority.follow(stands)
    }
    if (!written) return undefined
    return next.certificate === current.certificate ? 'sealed' : 'renewed'
  }

  async function bringBack(own: OwnCa, cas: Map<string, OwnCa>): Promise<void> {
    if (await isGone(own)) {
      authority.drop(own.uid)
      return
    }
    const { uid, namespace, name, trust } = own
    /** A pod may have come meanwhile, to whom it was released, or for whom another is asked. */
    const isUsed = () => authority.used.get(uid) === own
    const formerly = authority.held.get(uid)?.seenIn
    let restored = false
    const { found, seenIn } = await secrets.change(own, async (current, place) => {
      const isLost = current === undefined && isMadeAnew(place, formerly)
      // A round may last for minutes, and others may have released it meanwhile.
      const record = await options.record()
      const mayReturn = current === 'damaged' || (isLost && authority.isMissed(own, record))
      restored = mayReturn && isUsed() && !authority.isReplaced(own)
      return restored ? own : 'keep'
    })
    const stands = ownCaIn(found)
    // Where the Secret is the same, somebody has taken it out with intent.
    if (stands === undefined) {
      if (isUsed()) authority.drop(uid)
      return
    }
    cas.set(uid, stands)
    authority.held.set(uid, { namespace, name, trust, seenIn })
    if (restored) options.onChange('restored', own)
    // It was made since the round has read its Secret.
    else await authority.follow(stands)
  }

  async function isGone(entry: Entry): Promise<boolean> {
    if (options.runs(entry) || (await options.exists(entry))) {
      goneSince.delete(entry.uid)
      return false
    }
    const since = goneSince.get(entry.uid) ?? clock()
    goneSince.set(entry.uid, since)
    return clock() - since >= goneForMs
  }
}

function counted(found: readonly Due[]): DueCas {
  const due: DueCas = { unsealed: 0, formerSeal: 0, renewal: 0 }
  for (const each of found) due[each] += 1
  return due
}

function ownCaIn(found: Found): OwnCa | undefined {
  return typeof found === 'object' && found.trust === 'perCluster' ? found : undefined
}
