/**
 * Answers the requests for client certificates: watches them, approves or denies with a reason, signs what is approved.
 *
 * An approval, also one by a person, replaces none of the checks: they are made anew before the signature. Of several
 * replicas the one whose approval is written signs; should it end before, another does so after a while.
 */
import { createHash } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { AuthorityError } from '../authority/authority.ts'
import { clientSigner } from '../contract/client-certificates.ts'
import type { createSigning, SignatureRefusal } from '../enrollment/signature.ts'
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { CertificateSigningRequest, RequestCondition } from '../kubernetes/objects.ts'
import { signingRequestsPath as collection, path } from '../kubernetes/path.ts'
import { createReflector } from '../kubernetes/reflector.ts'
import { createFairTurns } from './fair-turns.ts'
import type { ClientFacts, ClientJudge, ClientVerdict } from './judge.ts'
import { createMemory, type Memory } from './memory.ts'
import { type ClientRefusal, refuseClient } from './request.ts'
import { shownUser } from './shown-user.ts'

export interface ClientSignerOptions {
  client: Client
  judge: ClientJudge
  sign: ReturnType<typeof createSigning>
  lifetimeSeconds: number
  observe(observation: ClientObservation): void
  /** A request could not be answered, and is tried again. */
  onFault(error: unknown, facts: Partial<ClientFacts>): void
  onWatchFault(error: unknown): void
  /** For the jitter of pauses, 0 to 1. */
  random(): number
  /** Milliseconds that never go back. */
  clock(): number
  /** How often open requests are looked at again. Default 10 s. */
  againEveryMs?: number
  /** Its own unless others look on. */
  memory?: Memory
}

export type ClientObservation = ClientFacts & {
  code: 'Issued' | ClientRefusal['code']
  reason?: string
  issued?: IssuedClient
}

export interface IssuedClient {
  serialNumber: string
  notAfter: Date
  /** Of the RayCluster. */
  apiVersion: string
  uid: string
}

export interface ClientSigner {
  start(): void
  /** Why no requests are answered now. */
  problem(): string | undefined
  stop(): Promise<void>
}

/** The least that an authority signs. A user who asks for less gets this much. */
const shortestSeconds = 3600

type Stage = 'open' | 'approved' | 'done'

interface Seen {
  name: string
  uid: string
  user: string
  stage: Stage
  /** The digest of what was handed out. */
  certificate: string | undefined
}

export function createClientSigner(options: ClientSignerOptions): ClientSigner {
  const { client, judge, sign, observe, clock } = options
  const againEveryMs = options.againEveryMs ?? 10_000
  const turns = createFairTurns()
  const memory = options.memory ?? createMemory({ clock, againEveryMs })
  const stopping = new AbortController()
  // All who wait listen to it.
  setMaxListeners(0, stopping.signal)
  const underWay = new Map<string, Promise<void>>()
  let sweeping: Promise<void> | undefined

  const requests = createReflector<CertificateSigningRequest, Seen>({
    client,
    path: collection,
    query: { fieldSelector: `spec.signerName=${clientSigner}` },
    project: object => ({
      name: object.metadata.name ?? '',
      uid: object.metadata.uid ?? '',
      user: object.spec.username ?? '',
      stage: stageOf(object),
      certificate: object.status?.certificate ? digestOf(object.status.certificate) : undefined
    }),
    onChange({ uid, after }) {
      if (after?.certificate !== undefined) memory.stands(uid, after.certificate)
      if (isOpen(after)) take(after)
      else memory.forget(uid)
    },
    onFault: options.onWatchFault,
    random: options.random,
    clock
  })

  return {
    start() {
      requests.start()
      sweeping ??= sweep()
    },
    problem: () => (requests.synced() ? undefined : 'the requests are not seen (yet)'),
    async stop() {
      stopping.abort()
      // The watch last: it tells of what was handed out while the answer to the write was lost.
      await Promise.all(underWay.values())
      await requests.stop()
      await sweeping
    }
  }

  /** What was put off: a fault of the API or the authority, or another replica that has approved and not signed. */
  async function sweep(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(againEveryMs, undefined, { signal: stopping.signal }).catch(() => {})
      for (const each of requests.values()) if (isOpen(each) && memory.isDue(each.uid)) take(each)
    }
  }

  function take(seen: Seen): void {
    const { uid } = seen
    if (underWay.has(uid) || stopping.signal.aborted) return
    const work = inTurn(seen).finally(() => {
      underWay.delete(uid)
      // It was withdrawn or answered while at work: nobody says so again.
      if (!isOpen(requests.get(uid))) memory.forget(uid)
    })
    underWay.set(uid, work)
  }

  async function inTurn({ name, uid, user }: Seen): Promise<void> {
    const leave = await turns.enter(user, stopping.signal)
    if (leave === undefined) return
    try {
      await answer(name, uid)
    } catch (error) {
      putOff(uid, error, { request: name })
    } finally {
      leave()
    }
  }

  function putOff(uid: string, error: unknown, facts: Partial<ClientFacts>): void {
    memory.failed(uid)
    options.onFault(error, facts)
  }

  async function answer(name: string, uid: string): Promise<void> {
    const object = await client.get<CertificateSigningRequest>(collection + path`/${name}`)
    // The watch shows only ours; what is written depends on nothing but the object itself.
    if (object?.metadata.uid !== uid || object.spec.signerName !== clientSigner) return
    const stage = stageOf(object)
    if (stage === 'done' || (stage === 'approved' && !memory.maySign(uid))) return
    const verdict = await judge(object)
    if (!verdict.allowed) return await refused(object, stage, verdict, verdict.facts)
    const approved = stage === 'open' ? await approve(object, uid, verdict) : object
    if (approved) await signed(approved, uid, verdict)
  }

  async function approve(
    object: CertificateSigningRequest,
    uid: string,
    { request: { user, namespace, rayCluster } }: ClientVerdict & { allowed: true }
  ): Promise<CertificateSigningRequest | undefined> {
    const message = `${shownUser(user.username)} may connect to RayCluster ${namespace}/${rayCluster}.`
    const status = withCondition(object, 'Approved', 'RayClientAllowed', message)
    const approved = await write(object, 'approval', status)
    if (approved) memory.approved(uid)
    return approved
  }

  async function signed(
    object: CertificateSigningRequest,
    uid: string,
    { request, rayCluster, apiVersion, facts }: ClientVerdict & { allowed: true }
  ): Promise<void> {
    const { publicKey, csr } = request.csr
    const { lifetimeSeconds: longest } = options
    const wanted = Math.max(request.lifetimeSeconds ?? longest, shortestSeconds)
    const answer = await sign({
      ...{ publicKey, csr, rayCluster, purpose: 'client' },
      names: { dnsNames: [], ipAddresses: [] },
      lifetimeSeconds: Math.min(wanted, longest)
    })
    if (!answer.allowed) {
      const code = finalCode(answer)
      if (code === undefined) return putOff(uid, answer.cause ?? answer.reason, facts)
      return await refused(object, 'approved', refuseClient(code), facts)
    }
    const {
      certificate,
      trustAnchors,
      alsoTrusted = '',
      serialNumber,
      notAfter
    } = answer.certificate
    const pem = certificate + trustAnchors + alsoTrusted
    const status = { ...object.status, certificate: Buffer.from(pem).toString('base64') }
    const issued = { serialNumber, notAfter, apiVersion, uid: rayCluster.uid }
    const tell = once(() => observe({ ...facts, code: 'Issued', issued }))
    // The API server may take it, and its answer be lost: the user has it, and the watch alone says so.
    memory.writes(uid, digestOf(status.certificate), tell)
    if (await write(object, 'status', status)) tell()
  }

  /** An approval cannot be taken back: what fails after it has failed. */
  async function refused(
    object: CertificateSigningRequest,
    stage: Stage,
    { code, text }: ClientRefusal,
    facts: ClientFacts
  ): Promise<void> {
    const denial = ['open', 'Denied', 'approval'] as const
    const [, type, subresource] = stage === 'open' ? denial : (['', 'Failed', 'status'] as const)
    if (!(await write(object, subresource, withCondition(object, type, code, text)))) return
    observe({ ...facts, code, reason: text })
  }

  /** Undefined: somebody else was faster, or it was withdrawn; the watch brings what became of it. */
  async function write(
    object: CertificateSigningRequest,
    subresource: 'approval' | 'status',
    status: CertificateSigningRequest['status']
  ): Promise<CertificateSigningRequest | undefined> {
    const at = collection + path`/${object.metadata.name ?? ''}/${subresource}`
    try {
      // Of the version that was judged: whoever has changed it meanwhile makes this a conflict.
      return await client.replace<CertificateSigningRequest>(at, { ...object, status })
    } catch (error) {
      if (!(error instanceof KubernetesError)) throw error
      if (error.code !== 'Conflict' && error.code !== 'NotFound') throw error
      return undefined
    }
  }
}

/** It is there, and has no answer. */
function isOpen(seen: Seen | undefined): seen is Seen {
  return seen !== undefined && seen.stage !== 'done'
}

function digestOf(certificate: string): string {
  return createHash('sha256').update(certificate).digest('base64')
}

function once(act: () => void): () => void {
  let done = false
  return () => {
    if (!done) act()
    done = true
  }
}

/** Of what would not be answered otherwise another time. */
function finalCode({ code, cause }: SignatureRefusal): ClientRefusal['code'] | undefined {
  if (cause instanceof AuthorityError && cause.code === 'PodsOnly') return cause.code
  return code === 'AuthorityDenied' ? code : undefined
}

function stageOf({ status }: CertificateSigningRequest): Stage {
  const has = (type: string) => status?.conditions?.some(condition => condition.type === type)
  if (status?.certificate || has('Denied') || has('Failed')) return 'done'
  return has('Approved') ? 'approved' : 'open'
}

function withCondition(
  { status }: CertificateSigningRequest,
  type: string,
  reason: string,
  message: string
): CertificateSigningRequest['status'] {
  const condition: RequestCondition = { type, status: 'True', reason, message }
  return { ...status, conditions: [...(status?.conditions ?? []), condition] }
}
