/**
 * What this replica has in mind of the CAs of RayClusters: those that it signs with, and where each was last seen.
 *
 * Decides nothing: the Secrets say what stands. It is what a lost Secret is brought back from.
 */
import { isDeepStrictEqual } from 'node:util'
import type { RayClusterReference } from '../authority.ts'
import type { LocalIssuer } from '../local.ts'
import type { Entry, OwnCa } from './entries.ts'
import type { OwnCas } from './own-ca.ts'
import type { Stands } from './secrets.ts'

/** What stood in a Secret, as it was last seen, and the UID of that. */
export interface Held extends Pick<Entry, 'namespace' | 'name' | 'trust'>, Pick<Stands, 'seenIn'> {}

export interface InUse {
  own: OwnCa
  issuer: LocalIssuer
  /** Of the record: what was opened before a change of the setting may have been taken away by others since. */
  since: number
  /** When it was last seen to stand in its Secret. */
  seenAt: number
}

export interface Memory {
  /** By UID, as all of these. */
  readonly inUse: ReadonlyMap<string, InUse>
  /** Has been in use: what a lost Secret is brought back from. */
  readonly used: ReadonlyMap<string, OwnCa>
  readonly held: Map<string, Held>
  /** UIDs of which something was learned since somebody has emptied it: what was read before may be old. */
  readonly noted: Set<string>
  use(opened: Omit<InUse, 'seenAt'>): void
  /** What stands by now. */
  note(rayCluster: RayClusterReference, entry: Entry | undefined, seenIn: Stands['seenIn']): void
  /**
   * What stands in the Secret by now takes the place of what has been in use here, when it has been opened. Throws
   * {@link AuthorityError}.
   */
  follow(own: OwnCa): Promise<void>
  /** It is not to be brought back either. */
  drop(uid: string): void
}

export function createMemory(ownCas: OwnCas, clock: () => number): Memory {
  const inUse = new Map<string, InUse>()
  const used = new Map<string, OwnCa>()
  const held = new Map<string, Held>()
  const noted = new Set<string>()

  return {
    inUse,
    used,
    held,
    noted,
    use(opened) {
      inUse.set(opened.own.uid, { ...opened, seenAt: clock() })
      used.set(opened.own.uid, opened.own)
    },
    note({ uid }, entry, seenIn) {
      noted.add(uid)
      if (entry === undefined) held.delete(uid)
      else {
        const { namespace, name, trust } = entry
        held.set(uid, { namespace, name, trust, seenIn })
      }
      // Another replica has taken it away, or never had it.
      if (entry?.trust === 'perCluster') ownCas.stands(entry)
      else for (const each of [inUse, used]) each.delete(uid)
    },
    async follow(own) {
      const former = used.get(own.uid)
      if (former === undefined) return
      if (isSame(former, own)) {
        const opened = inUse.get(own.uid)
        if (opened !== undefined) inUse.set(own.uid, { ...opened, seenAt: clock() })
        return
      }
      // Opened from the Secret, with the record, when it is needed again.
      inUse.delete(own.uid)
      await ownCas.open(own)
      // Meanwhile a pod may have come to whom it was released, or for whom another is asked.
      if (used.get(own.uid) === former) used.set(own.uid, own)
    },
    drop(uid) {
      for (const each of [inUse, used, held]) each.delete(uid)
      ownCas.drop(uid)
    }
  }
}

/** The same CA, kept by the same key. */
export function isSame(one: OwnCa, other: OwnCa): boolean {
  return one.certificate === other.certificate && isDeepStrictEqual(one.key, other.key)
}
