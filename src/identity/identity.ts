/**
 * The steps from a token to a pod and its names, each a question to the Kubernetes API.
 *
 * Decides who asks and which names they may hold. Knows neither keys nor certificates. Fails closed: what the API does not
 * answer is a refusal, never an assumption.
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { createShared } from '../flow/shared.ts'
import { createTurns } from '../flow/turns.ts'
import type { Calls, RayReference } from '../kubernetes/calls.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { KubernetesObject, Pod, RayCluster } from '../kubernetes/objects.ts'
import { missingRights } from '../kubernetes/rights.ts'
import { type ClusterReference, controllingRayCluster } from '../ray/owner.ts'
import type { CertificateNames } from '../x509/names.ts'
import { type Addresses, visibleAddresses } from './addresses.ts'
import {
  headServiceOf,
  owningCluster,
  type Role,
  roleOf,
  stableServiceOf,
  subdomainOf
} from './cluster.ts'
import { certificateNames, type NamingOptions } from './names.ts'
import { neededRights } from './permissions.ts'
import { podFault } from './pod.ts'
import { heldAddresses, type PodIndex } from './pods.ts'
import { type Proof, type Refusal, refuse } from './refusal.ts'
import { type Holder, holderOf, type LikelyToken, likelyToken } from './token.ts'

export interface IdentityOptions extends NamingOptions {
  calls: Calls
  pods: PodIndex
  /** Of the tokens that are accepted. */
  audience: string
  /** Of our init container: the current one, former ones, and the names that mirrors give them. */
  images: readonly string[]
  /** TokenReviews under way at one time, and tokens that may wait for theirs. */
  reviews?: { atOnce: number; waiting: number }
  /** Milliseconds since the epoch. */
  clock: () => number
}

/** What a pod says of itself, good for telling people and for nothing else. */
export type ClaimedOwner = ClusterReference

export interface Identity {
  /** Drops what cannot be a token for this service; proves nothing. */
  likelyToken(authorization: string | undefined): Proof<LikelyToken>
  /** TokenReview. Refused tokens are remembered for a few seconds by their SHA-256. `signal`: of who waits for it. */
  holder(token: LikelyToken, signal?: AbortSignal): Promise<Proof<Holder>>
  /** The live pod of the token, read fresh. */
  pod(holder: Holder): Promise<Proof<{ pod: Pod }> & { claimedOwner?: ClaimedOwner }>
  /** The pod's addresses: those that it claims and that no other pod holds. */
  addresses(pod: Pod, claimed: readonly string[]): Promise<Proof<Addresses>>
  owner(pod: Pod): Promise<Proof<{ rayCluster: RayCluster }>>
  role(pod: Pod, rayCluster: RayCluster, addresses: readonly string[]): Proof<{ role: Role }>
  names(facts: NameFacts): Promise<Proof<{ names: CertificateNames }>>
  /** Rights that are missing, as `get pods`. */
  checkPermissions(): Promise<string[]>
  readonly pods: PodIndex
}

export interface NameFacts {
  pod: Pod
  rayCluster: RayCluster
  role: Role
  addresses: readonly string[]
}

const refusedTokens = { max: 10_000, ttl: 5_000 }
/** A token so close to its end may just have passed it by the API server's clock. */
const clockToleranceMs = 60_000
/** Half of the client's connections: a flood of junk tokens must leave the others to pods whose token was confirmed. */
const defaultReviews = { atOnce: 8, waiting: 1_000 }

export function createIdentity(options: IdentityOptions): Identity {
  const { calls, pods, audience, clock } = options
  const refused = new LRUCache<string, Refusal>({ ...refusedTokens, perf: { now: clock } })
  const reviews = createTurns(options.reviews ?? defaultReviews)
  const clusters = sharedClusters(calls)

  return {
    pods,
    likelyToken: authorization => likelyToken(authorization, audience, clock()),
    holder: (token, signal) => answered(() => reviewed(token, signal)),
    pod: holder => answered(() => livePod(holder)),
    addresses: (pod, claimed) => answered(() => ownAddresses(pod, claimed)),
    owner: pod => answered(() => owningCluster(clusters, pod)),
    role: roleOf,
    names: facts => answered(() => provenNames(facts)),
    checkPermissions: () => missingRights(calls, neededRights)
  }

  async function reviewed(token: LikelyToken, signal?: AbortSignal): Promise<Proof<Holder>> {
    const key = createHash('sha256').update(token.text).digest('base64')
    const known = refused.get(key)
    if (known) return known
    const place = reviews.place(signal)
    if (!(await place.enter())) return refuse('NotReady', 'too many tokens wait for their review')
    try {
      // The same token may have been refused while this one waited.
      return refused.get(key) ?? (await review(token, key))
    } finally {
      place.leave()
    }
  }

  async function review(token: LikelyToken, key: string): Promise<Proof<Holder>> {
    const proof = holderOf(await calls.reviewToken(token.text, audience), audience)
    if (proof.allowed) return proof
    if (proof.code === 'TokenNotAuthenticated' && token.expiresAt - clock() < clockToleranceMs)
      return refuse('TokenExpired', proof.reason)
    refused.set(key, proof)
    return proof
  }

  async function livePod(
    holder: Holder
  ): Promise<Proof<{ pod: Pod }> & { claimedOwner?: ClaimedOwner }> {
    const pod = await calls.pod(holder.namespace, holder.podName)
    if (!pod) return refuse('PodNotFound', `there is no pod ${holder.namespace}/${holder.podName}`)
    const judged = podFault(pod, holder, audience, options.images) ?? { allowed: true, pod }
    const claimedOwner = controllingRayCluster(pod)
    return claimedOwner ? { ...judged, claimedOwner } : judged
  }

  async function ownAddresses(pod: Pod, claimed: readonly string[]): Promise<Proof<Addresses>> {
    const visible = visibleAddresses(pod, claimed)
    if (!visible.allowed) return visible
    const { uid = '' } = pod.metadata
    // Of a watch that has died unseen: it shows pods that are gone, whose addresses others have by now.
    const gone = new Set<string>()
    for (;;) {
      // Asked anew after each call: meanwhile the watch may have shown another one, or be lost.
      if (!pods.synced()) return refuse('NotReady', 'the index of pods is not complete')
      const other = pods.otherHolder(uid, visible.addresses, gone)
      if (other === undefined) return visible
      const { namespace, name } = other
      // Whatever pod has that name now: what counts is that it is another one and has the address.
      const now = await calls.pod(namespace, name)
      const held = now && now.metadata.uid !== uid ? heldAddresses(now) : []
      if (held.some(address => visible.addresses.includes(address)))
        return refuse('IPConflict', `${namespace}/${name} holds one of ${visible.addresses}`)
      gone.add(other.uid)
    }
  }

  async function provenNames(facts: NameFacts): Promise<Proof<{ names: CertificateNames }>> {
    const { pod, rayCluster, role, addresses } = facts
    const headServices: string[] = []
    if (role === 'head') {
      const head = await headServiceOf(calls, rayCluster)
      if (!head.allowed) return head
      const stable = await stableServiceOf(calls, rayCluster)
      headServices.push(head.headService, ...(stable === undefined ? [] : [stable]))
    }
    const subdomain = await subdomainOf(calls, pod, rayCluster)
    const names = certificateNames(
      {
        namespace: pod.metadata.namespace ?? '',
        addresses,
        headServices,
        hostname: subdomain ? { hostname: pod.spec.hostname ?? '', subdomain } : undefined
      },
      options
    )
    return names
      ? { allowed: true, names }
      : refuse('HeadServiceNotKnown', 'a name of the pod is not well-formed')
  }
}

/**
 * The pods of a RayCluster start together and all ask for it: one call under way serves them all. So it may be read a moment
 * before a pod has asked, by as much as the call takes; the pod itself is read for that pod alone.
 */
function sharedClusters(calls: Calls): Pick<Calls, 'rayObject'> {
  const shared = createShared<KubernetesObject | undefined>()
  return {
    rayObject: <T extends KubernetesObject>(namespace: string, reference: RayReference) => {
      const { apiVersion, kind, name } = reference
      const key = JSON.stringify([namespace, apiVersion, kind, name])
      return shared(key, () => calls.rayObject(namespace, reference)) as Promise<T | undefined>
    }
  }
}

/** Faults of the API are "again later". The message has the path and the status, never the token. */
async function answered<T>(step: () => Promise<Proof<T>>): Promise<Proof<T>> {
  try {
    return await step()
  } catch (error) {
    if (error instanceof KubernetesError)
      return refuse('ApiUnavailable', `${error.code}: ${error.message}`)
    throw error
  }
}
