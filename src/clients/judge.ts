/**
 * May this user have a certificate for this RayCluster? The sequence of checks before a client certificate is signed.
 *
 * Who asks is what the API server has written into the request, impersonation included. Rights are those that the API server
 * confirms for that very user. A question that is not answered is an exception, and the request stays open.
 */
import { LRUCache } from 'lru-cache'
import type { RayClusterReference } from '../authority/authority.ts'
import { clientRight } from '../contract/client-certificates.ts'
import type { KnownKeys } from '../enrollment/keys.ts'
import { createQuota } from '../flow/quota.ts'
import type { Calls } from '../kubernetes/calls.ts'
import type { CertificateSigningRequest, RayCluster } from '../kubernetes/objects.ts'
import {
  type ClientRefusal,
  type ClientRequest,
  readClientRequest,
  refuseClient
} from './request.ts'

export interface ClientJudgeOptions {
  calls: Pick<Calls, 'userMay' | 'rayObject'>
  /** The same that pods claim theirs in. */
  keys: KnownKeys
  /** Requests within an hour. */
  perUser: number
  /** Milliseconds since the epoch. */
  clock: () => number
}

/** What is known of a request, for the log. Never the request itself. */
export interface ClientFacts {
  request: string
  user?: string
  namespace?: string
  rayCluster?: string
  spkiSha256?: string
}

export type ClientVerdict = (
  | { allowed: true; request: ClientRequest; rayCluster: RayClusterReference; apiVersion: string }
  | ClientRefusal
) & { facts: ClientFacts }

/** Throws KubernetesError. May be asked again about the same object. */
export type ClientJudge = (object: CertificateSigningRequest) => Promise<ClientVerdict>

export function createClientJudge(options: ClientJudgeOptions): ClientJudge {
  const { calls, keys, perUser, clock } = options
  const quota = createQuota({ burst: perUser, periodSeconds: 3600, clock })
  const counted = new LRUCache<string, true>({ max: 10_000 })

  return async object => {
    const { name = '', uid = '' } = object.metadata
    const facts: ClientFacts = { request: name }
    const verdict = await judged(object, uid, facts)
    return { ...verdict, facts }
  }

  async function judged(object: CertificateSigningRequest, uid: string, facts: ClientFacts) {
    const { username } = object.spec
    if (username) facts.user = username
    if (username && !isCounted(uid, username)) return refuseClient('QuotaExceeded')
    const request = readClientRequest(object)
    if (!request.allowed) return request
    const { namespace, rayCluster: name, user, csr } = request
    Object.assign(facts, { namespace, rayCluster: name, spkiSha256: csr.spkiSha256 })
    // Before it is looked for: who lacks the right does not learn which RayClusters there are.
    if (!(await calls.userMay(user, { ...clientRight, namespace, name })))
      return refuseClient('Forbidden')
    const found = await calls.rayObject<RayCluster>(namespace, {
      ...({ apiVersion: 'ray.io/v1', kind: 'RayCluster' } as const),
      name
    })
    const foundUid = found?.metadata.uid
    if (found === undefined || !foundUid || found.metadata.deletionTimestamp)
      return refuseClient('RayClusterNotFound')
    // A key has one holder: a pod, or one request.
    if (!keys.claim(csr.spkiSha256, uid)) return refuseClient('KeyReused')
    const rayCluster = { namespace, name, uid: foundUid }
    return {
      allowed: true as const,
      ...{ request, rayCluster },
      apiVersion: found.apiVersion ?? 'ray.io/v1'
    }
  }

  /** Attack: one user who keeps the API and the signer busy. Once for each request, and refused ones count as well. */
  function isCounted(uid: string, username: string): boolean {
    if (counted.has(uid)) return true
    if (quota.take(username) > 0) return false
    counted.set(uid, true)
    return true
  }
}
