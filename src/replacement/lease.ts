/**
 * Which of several replicas acts: the one that holds a Lease (coordination.k8s.io/v1), and what it has done last.
 *
 * The holder writes into the Lease what it is about to do, before it does so. Every write carries the version that it is
 * based on: who has lost the Lease without noticing fails at that write and does nothing, and whoever comes next reads what
 * the one before it did. Ends are measured on one's own steady clock, never compared between machines
 * (https://kubernetes.io/docs/concepts/architecture/leases/).
 */
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { KubernetesObject } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'

export interface LeaseOptions {
  client: Client
  namespace: string
  name: string
  /** Of this replica; no other may ever have the same. */
  identity: string
  /** Milliseconds since the epoch, for people who look at the Lease. */
  wall: () => number
  /** Milliseconds that never go back. */
  steady: () => number
}

export interface Lease {
  /** One round: takes it where it is free, renews it where it is ours. Whether it is held now. */
  keep(): Promise<boolean>
  /** Surely nobody else acts for as long as a call may take. */
  held(): boolean
  /** What the holder wrote last. */
  note(): string | undefined
  /** False: it is lost, and what was to be noted must not be done. */
  write(note: string | undefined): Promise<boolean>
  /** So that another need not wait. */
  release(): Promise<void>
}

interface LeaseObject extends KubernetesObject {
  spec?: {
    holderIdentity?: string | null
    leaseDurationSeconds?: number
    acquireTime?: string
    renewTime?: string
    leaseTransitions?: number
  } | null
}

const durationSeconds = 15
const renewEveryMs = 5_000
/** From then on to the end of the Lease there is time for one call, which takes five seconds at most. */
const actForMs = 9_000
const noteAnnotation = 'rayguard.dev/last-eviction'

export function createLease(options: LeaseOptions): Lease {
  const { client, namespace, name, identity, wall, steady } = options
  const collection = path`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
  const place = `${collection}/${name}`
  let known: LeaseObject | undefined
  /** Of what `known` says of its holder. */
  let unchangedSince = 0
  let renewedAt: number | undefined

  return {
    async keep() {
      if (renewedAt !== undefined && steady() - renewedAt < renewEveryMs) return true
      if (renewedAt === undefined && !(await isFree())) return false
      return put(known?.metadata.annotations?.[noteAnnotation])
    },
    held,
    note: () => known?.metadata.annotations?.[noteAnnotation],
    write: async note => held() && put(note),
    async release() {
      if (!held()) return
      await put(known?.metadata.annotations?.[noteAnnotation], '')
      renewedAt = undefined
    }
  }

  function held(): boolean {
    return renewedAt !== undefined && steady() - renewedAt < actForMs
  }

  async function isFree(): Promise<boolean> {
    const found = await client.get<LeaseObject>(place)
    if (found?.metadata.resourceVersion !== known?.metadata.resourceVersion || !known)
      unchangedSince = steady()
    known = found
    const holder = found?.spec?.holderIdentity
    return !holder || holder === identity || steady() - unchangedSince > durationSeconds * 1000
  }

  async function put(note: string | undefined, holderIdentity = identity): Promise<boolean> {
    // Before it is sent: the Lease lasts from the moment in which the API server took it, at the earliest this one.
    const startedAt = steady()
    const wanted = leaseWith(note, holderIdentity)
    try {
      known = known
        ? await client.replace<LeaseObject>(place, wanted)
        : await client.create<LeaseObject>(collection, wanted)
      renewedAt = startedAt
      return true
    } catch (error) {
      const code = error instanceof KubernetesError ? error.code : undefined
      // Somebody else was quicker, or has deleted it.
      if (code === 'Conflict' || code === 'NotFound') {
        renewedAt = undefined
        known = undefined
        return false
      }
      // Whether it was written is not known: for as long as it surely holds, it is tried again.
      if (!held()) renewedAt = undefined
      throw error
    }
  }

  function leaseWith(note: string | undefined, holderIdentity: string): LeaseObject {
    const now = `${new Date(wall()).toISOString().slice(0, -1)}000Z`
    const ours = known?.spec?.holderIdentity === identity
    const transitions = known?.spec?.leaseTransitions ?? 0
    const { [noteAnnotation]: _, ...others } = known?.metadata.annotations ?? {}
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        ...(known?.metadata ?? { name, namespace }),
        annotations: { ...others, ...(note === undefined ? {} : { [noteAnnotation]: note }) }
      },
      spec: {
        holderIdentity,
        leaseDurationSeconds: durationSeconds,
        acquireTime: ours ? (known?.spec?.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: ours ? transitions : transitions + 1
      }
    }
  }
}
