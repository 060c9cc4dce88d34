/**
 * Which live pod holds which address: all pods of the cluster by every one of their addresses, from a watch.
 *
 * Answers "does another pod hold it" and wakes who waits for an address to be visible. Lags behind the API: what is
 * signed is read fresh, and so is whoever it says holds an address, before anybody is kept out.
 */
import type { Client } from '../kubernetes/client.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { createReflector } from '../kubernetes/reflector.ts'
import { canonicalAddress } from '../x509/names.ts'
import { shownAddresses } from './addresses.ts'

export interface PodIndex {
  start(): void
  synced(): boolean
  readonly whenSynced: Promise<void>
  /** Another live pod with one of the addresses; `except`: pods that are not meant, by their UIDs. */
  otherHolder(
    uid: string,
    addresses: readonly string[],
    except?: ReadonlySet<string>
  ): AddressHolder | undefined
  /** True once the pod shows exactly these addresses; false when the time is over or the caller has gone. */
  whenShown(uid: string, addresses: readonly string[], options: Patience): Promise<boolean>
  stop(): Promise<void>
}

export interface AddressHolder {
  uid: string
  namespace: string
  name: string
}

export interface Patience {
  timeoutMs: number
  signal?: AbortSignal
}

export interface PodIndexOptions {
  client: Client
  random: () => number
  /** Milliseconds that never go back. */
  clock: () => number
  onFault?(error: unknown): void
  backoffMs?: number
  pageSize?: number
  staleAfterMs?: number
}

interface Entry {
  namespace: string
  name: string
  addresses: string[]
}

export function createPodIndex(options: PodIndexOptions): PodIndex {
  const holders = new Map<string, Set<string>>()
  const reflector = createReflector<Pod, Entry>({
    ...options,
    path: '/api/v1/pods',
    // Finished pods have given their addresses back.
    query: { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' },
    project: entryOf,
    onChange({ uid, before, after }) {
      for (const address of before?.addresses ?? []) release(address, uid)
      for (const address of after?.addresses ?? [])
        holders.set(address, (holders.get(address) ?? new Set()).add(uid))
    }
  })

  return {
    start: reflector.start,
    synced: reflector.synced,
    whenSynced: reflector.whenSynced,
    otherHolder(uid, addresses, except) {
      for (const address of addresses)
        for (const holder of holders.get(address) ?? []) {
          const entry = reflector.get(holder)
          if (holder !== uid && !except?.has(holder) && entry)
            return { uid: holder, namespace: entry.namespace, name: entry.name }
        }
      return undefined
    },
    whenShown: (uid, addresses, patience) =>
      reflector.changed(uid, { ...patience, until: entry => shows(entry, addresses) }),
    stop: reflector.stop
  }

  function release(address: string, uid: string): void {
    const uids = holders.get(address)
    uids?.delete(uid)
    if (uids?.size === 0) holders.delete(address)
  }
}

function entryOf(pod: Pod): Entry | undefined {
  const addresses = heldAddresses(pod)
  if (addresses.length === 0) return undefined
  const { namespace = '', name = '' } = pod.metadata
  return { namespace, name, addresses }
}

/**
 * A pod on its node's network shares the node's address with others like it. One that is being deleted still counts: its
 * address is its own until its sandbox is gone.
 */
export function heldAddresses({ spec, status }: Pod): string[] {
  if (spec.hostNetwork || status?.phase === 'Succeeded' || status?.phase === 'Failed') return []
  return shownAddresses({ status: status ?? null }).map(
    address => canonicalAddress(address) ?? address
  )
}

function shows(entry: Entry | undefined, addresses: readonly string[]): boolean {
  const shown = new Set(entry?.addresses)
  return shown.size === addresses.length && addresses.every(address => shown.has(address))
}
