/**
 * May this request have a certificate, and with which names? The whole sequence of checks, cheap ones first.
 *
 * Every "no" is a value with a stable code; a question that is not answered is a "no" too. The names come from identity
 * alone: nothing of what the request claims is signed but the public key.
 */
import type { Authority, LeafRequest, RayClusterReference } from '../authority/authority.ts'
import type { CertificateRequest } from '../contract/enrollment.ts'
import { createTurns, type Place } from '../flow/turns.ts'
import { claimedAddresses, sourceFault } from '../identity/addresses.ts'
import type { Identity } from '../identity/identity.ts'
import { type Proof, type Refusal, refuse } from '../identity/refusal.ts'
import type { Holder } from '../identity/token.ts'
import type { Pod, RayCluster } from '../kubernetes/objects.ts'
import { type AllowedRequest, readCertificateRequest } from '../x509/csr.ts'
import { type CertificateNames, equalNames } from '../x509/names.ts'
import { authorityRefusal } from './authority-refusal.ts'
import { createKnownKeys, type KnownKeys } from './keys.ts'
import type { Decision, EnrollmentFacts, EnrollmentOutcome } from './outcome.ts'
import { createQuotas, type QuotaOptions } from './quotas.ts'
import { createSigning } from './signature.ts'

export interface EnrollmentRequest extends CertificateRequest {
  /** The header as it came. */
  authorization: string | undefined
  /** Of the connection's peer; never from a header. */
  sourceAddress: string | undefined
  /** Aborts when the client has gone. */
  signal?: AbortSignal
}

export interface EnrollmentOptions extends QuotaOptions {
  identity: Identity
  authority: Authority
  /** Who has shown which key; its own unless others have to know as well. */
  knownKeys?: KnownKeys
  /** Of the certificates of a namespace. An API that does not answer is a refusal; what is thrown is a fault. */
  lifetimeOf(namespace: string): Promise<Proof<Lifetime>>
  /** Requests that wait for their address, and for how long. Default 500 and 3 s; 0 answers at once. */
  hold?: { requests: number; timeoutMs: number }
  /** Requests that are here at one time, whatever they wait for. Default 5000. */
  maximumConcurrent?: number
  /** Of those with a confirmed token: how many are worked on at one time. Default 64. */
  atWork?: number
  /** How long the others wait before they are told to come again. Default 15 s. */
  waitMs?: number
}

export interface Lifetime {
  seconds: number
  /** What people should know of the namespace's label. */
  notice?: string
}

export interface Enrollment {
  enroll(request: EnrollmentRequest): Promise<EnrollmentOutcome>
  /** For the metrics. */
  readonly concurrent: number
  readonly held: number
}

export function createEnrollment(options: EnrollmentOptions): Enrollment {
  const { identity, authority, clock } = options
  const hold = options.hold ?? { requests: 500, timeoutMs: 3_000 }
  const maximumConcurrent = options.maximumConcurrent ?? 5_000
  const quotas = createQuotas(options)
  // Sixty-four that end soon serve a burst sooner than a thousand that all end last, and hold less memory meanwhile. To wait
  // costs less than to come again with another handshake; but agents go after 30 s, of which an authority may take ten.
  const gate = createTurns({
    atOnce: options.atWork ?? 64,
    waiting: maximumConcurrent,
    waitMs: options.waitMs ?? 15_000
  })
  const knownKeys = options.knownKeys ?? createKnownKeys()
  const sign = createSigning(authority, clock)
  let concurrent = 0
  let held = 0

  return {
    async enroll(request) {
      const startedAt = clock()
      const facts: EnrollmentFacts = {}
      concurrent += 1
      try {
        const decision =
          concurrent > maximumConcurrent
            ? refuse('NotReady', `${maximumConcurrent} requests are at work`)
            : await decide(request, facts)
        return { ...decision, facts, durationSeconds: (clock() - startedAt) / 1000 }
      } finally {
        concurrent -= 1
      }
    },
    get concurrent() {
      return concurrent
    },
    get held() {
      return held
    }
  }

  async function decide(request: EnrollmentRequest, facts: EnrollmentFacts): Promise<Decision> {
    const claimed = claimedAddresses(request.podIPs)
    if (claimed === undefined) return refuse('BadRequest', 'podIPs has what is not an address')
    const token = identity.likelyToken(request.authorization)
    if (!token.allowed) return token
    const tooMany = quotas.attempt(token.text, request.sourceAddress)
    if (tooMany) return tooMany
    const holder = await identity.holder(token, request.signal)
    if (!holder.allowed) return holder
    noteHolder(facts, holder)
    const place = gate.place(request.signal)
    try {
      return await judged(request, holder, claimed, facts, place)
    } finally {
      place.leave()
    }
  }

  async function judged(
    request: EnrollmentRequest,
    holder: Holder,
    claimed: string[],
    facts: EnrollmentFacts,
    place: Place
  ): Promise<Decision> {
    if (!(await place.enter())) return refuse('NotReady', 'too many requests wait')
    const standing = await standingWithPatience(holder, claimed, request, facts, place)
    if (!standing.allowed) return standing
    if (request.signal?.aborted) return hasGone
    const { pod, addresses } = standing
    const stranger = options.checkSourceAddress && sourceFault(request.sourceAddress, addresses)
    if (stranger) return stranger

    const owner = await identity.owner(pod)
    if (!owner.allowed) return owner
    if (request.signal?.aborted) return hasGone
    const { rayCluster } = owner
    facts.rayCluster = rayCluster.metadata.name ?? ''
    const roled = identity.role(pod, rayCluster, addresses)
    if (!roled.allowed) return roled
    facts.role = roled.role
    const named = await identity.names({ pod, rayCluster, role: roled.role, addresses })
    if (!named.allowed) return named
    if (request.signal?.aborted) return hasGone

    const csr = readCertificateRequest(request.csr)
    if (!csr.allowed) return csr
    facts.spkiSha256 = csr.spkiSha256
    const reference = referenceOf(rayCluster, holder)
    const asksOddly = await askedNamesFault(csr, named.names, reference)
    if (asksOddly) return asksOddly
    if (!knownKeys.claim(csr.spkiSha256, holder.podUid))
      return refuse('KeyReused', 'another pod has shown this key before')
    const lifetime = await options.lifetimeOf(holder.namespace)
    noteLifetime(facts, lifetime)
    if (!lifetime.allowed) return lifetime
    if (request.signal?.aborted) return hasGone
    const { publicKey, csr: bytes } = csr
    const asked = { publicKey, csr: bytes, names: named.names, lifetimeSeconds: lifetime.seconds }
    return issued({ ...asked, rayCluster: reference }, holder, facts)
  }

  /** The pod as it is now, and its addresses. */
  async function standing(
    holder: Holder,
    claimed: string[],
    facts: EnrollmentFacts
  ): Promise<Proof<{ pod: Pod; addresses: string[] }>> {
    const live = await identity.pod(holder)
    if (live.claimedOwner) facts.owner = live.claimedOwner
    if (!live.allowed) return live
    const { pod } = live
    const proven = await identity.addresses(pod, claimed)
    return proven.allowed ? { allowed: true, pod, addresses: proven.addresses } : proven
  }

  /**
   * The kubelet writes a pod's addresses into the API about a second after the init container has started. Instead of
   * sending the agent away, wait until the watch shows them, and then ask once more, from the start.
   */
  async function standingWithPatience(
    holder: Holder,
    claimed: string[],
    request: EnrollmentRequest,
    facts: EnrollmentFacts,
    place: Place
  ): Promise<Proof<{ pod: Pod; addresses: string[] }>> {
    const first = await standing(holder, claimed, facts)
    if (first.allowed || (first.code !== 'IPNotVisible' && first.code !== 'IPMismatch'))
      return first
    if (held >= hold.requests || hold.timeoutMs === 0) return first
    const startedAt = clock()
    held += 1
    // Who only waits keeps nobody from being served.
    place.leave()
    const shown = await identity.pods
      .whenShown(holder.podUid, claimed, {
        timeoutMs: hold.timeoutMs,
        ...(request.signal ? { signal: request.signal } : {})
      })
      .finally(() => {
        held -= 1
      })
    facts.heldSeconds = (clock() - startedAt) / 1000
    return shown && (await place.enter()) ? standing(holder, claimed, facts) : first
  }

  /** Names in a request are refused, not ignored: a fault or an attack, and nobody would see it otherwise. */
  async function askedNamesFault(
    { names: asked }: AllowedRequest,
    granted: CertificateNames,
    rayCluster: RayClusterReference
  ): Promise<(Refusal & { names?: CertificateNames; cause?: unknown }) | undefined> {
    let from = authority.namesFrom
    try {
      from = (await authority.namesFor?.(rayCluster)) ?? from
    } catch (cause) {
      return authorityRefusal(cause)
    }
    if (from === 'server') return asked && refuse('CsrUnexpected', 'the request asks for names')
    if (asked === undefined)
      return { ...refuse('NamesRequired', 'the authority signs what is asked'), names: granted }
    if (equalNames(asked, granted)) return undefined
    return refuse('NamesMismatch', 'the request asks for other names than were found')
  }

  async function issued(
    asked: LeafRequest,
    holder: Holder,
    facts: EnrollmentFacts
  ): Promise<Decision> {
    const exhausted = quotas.certificate(holder)
    if (exhausted) return exhausted
    const signed = await sign(asked)
    if (!signed.allowed) {
      if (!signed.made) quotas.giveBack(holder)
      return signed
    }
    const { certificate, trustAnchors, alsoTrusted = '' } = signed.certificate
    const { serialNumber, notBefore, notAfter } = signed.certificate
    facts.serialNumber = serialNumber
    return {
      allowed: true,
      response: {
        certificate,
        // The one that has signed comes first.
        trustAnchors: trustAnchors + alsoTrusted,
        serialNumber,
        notBefore: rfc3339(notBefore),
        notAfter: rfc3339(notAfter)
      }
    }
  }
}

/** Nobody would get what is signed, the pod's next request would find its quota used up, and others wait for the turn. */
const hasGone = refuse('NotReady', 'the client has gone')

function noteHolder(facts: EnrollmentFacts, holder: Holder): void {
  facts.pod = { namespace: holder.namespace, name: holder.podName, uid: holder.podUid }
  if (holder.credentialId !== undefined) facts.credentialId = holder.credentialId
}

/** Whether it waits for the label or lives shorter than that says: people are told. */
function noteLifetime(facts: EnrollmentFacts, lifetime: Proof<Lifetime>): void {
  if (lifetime.allowed) {
    if (lifetime.notice !== undefined) facts.lifetimeLabel = lifetime.notice
  } else if (lifetime.code === 'LifetimeLabel') facts.lifetimeLabel = lifetime.reason
}

function referenceOf({ metadata }: RayCluster, { namespace }: Holder): RayClusterReference {
  const { name = '', uid = '' } = metadata
  return { namespace, name, uid }
}

function rfc3339(date: Date): string {
  return date.toISOString().replace('.000Z', 'Z')
}
