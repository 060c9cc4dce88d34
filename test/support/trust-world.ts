/**
 * Replicas of both settings of `trust`, two Ray clusters whose pods come and go, and the Secrets between them, under a clock
 * and in an order that the test chooses. After each certificate it judges whether the pods of its RayCluster are still one.
 */
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto'
import type { Authority, RayClusterReference } from '../../src/authority/authority.ts'
import { recordSecret, secretOf } from '../../src/authority/per-cluster/entries.ts'
import { createPerClusterAuthority } from '../../src/authority/per-cluster/per-cluster.ts'
import { createRecord, type TrustSetting } from '../../src/authority/per-cluster/record.ts'
import { createClusterSecrets } from '../../src/authority/per-cluster/secrets.ts'
import type { ClusterPod } from '../../src/authority/per-cluster/standing.ts'
import { createUpkeep } from '../../src/authority/per-cluster/upkeep.ts'
import { readCertificate } from '../../src/x509/certificate.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { authorityKeySha256 } from '../../src/x509/same-authority.ts'
import { createHeldSecrets } from './held-secrets.ts'
import { createLosses } from './trust-losses.ts'

export interface WorldOptions {
  /** The external CA, by the clock of the world. */
  external(clock: () => number): Authority
  startsAt: number
  replicas: TrustSetting[]
}

export interface NewPod {
  cluster: number
  node: 'head' | 'worker'
  /** Until the watch of each replica shows that it has come, or that it has gone. */
  seenAfterMs: number[]
  /** Until its status says what it holds. */
  saysAfterMs: number
}

interface PlayedPod extends NewPod {
  createdAt: number
  endedAt?: number
  held?: {
    certificate: X509Certificate
    anchor: X509Certificate
    trustAnchors: string
    keySha256: string
    isOwn: boolean
    at: number
    /** When it began to ask for it. */
    askedAt: number
  }
  /** Of its agent. */
  attempt?: { at: number }
}

export type World = ReturnType<typeof createWorld>

/** As long as an agent waits for an answer. */
const patienceMs = 30_000
/** Between the rounds of one replica; each begins at another time. */
const roundMs = 5 * 60_000
const roundsApartMs = 100_000
const leafSeconds = 24 * 3600
const publicKey = createPublicKey(makeKeyPairSync().privateKey)
const asked = {
  publicKey: publicKey.export({ type: 'spki', format: 'der' }),
  csr: Buffer.alloc(0),
  names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
  lifetimeSeconds: leafSeconds
}

export function createWorld({ external, startsAt, replicas: settings }: WorldOptions) {
  let now = startsAt
  const clock = () => now
  const held = createHeldSecrets(clock)
  const outside = external(clock)
  const root = outside.describe().anchorSha256
  const clusters: RayClusterReference[] = ['a', 'b'].map(name => ({
    ...{ namespace: 'team', name, uid: `uid-of-${name}` }
  }))
  const pods: PlayedPod[] = []
  const losses = createLosses(clock)
  let split: unknown
  const counts = { own: 0, shared: 0, traceless: 0, refused: {} as Record<string, number> }
  const replicas = settings.map((setting, place) => replica(setting, place))

  return {
    pods,
    counts,
    create(pod: NewPod) {
      pods.push({ ...pod, createdAt: now })
      return pods.length - 1
    },
    end(place: number) {
      const pod = pods[place]
      if (pod) pod.endedAt ??= now
    },
    enroll,
    start(place: number, setting: TrustSetting) {
      const former = replicas[place]
      if (former) losses.seenBy(former)()
      replicas[place] = replica(setting, place)
    },
    /** As a replica does when it starts. */
    async begin(place: number) {
      const replica = replicas[place]
      if (replica) await begun(replica).catch(() => {})
    },
    look(place: number) {
      void look(place)
    },
    async step(place: number, fails: boolean) {
      held.step(place, fails)
      await quiet()
    },
    async stepAbandoned(place: number) {
      held.stepAbandoned(place)
      await quiet()
    },
    /** Everything that is under way comes to its end without a fault. */
    drain,
    /** With the rounds that come in this time, each to its end. */
    async advance(ms: number) {
      const until = now + ms
      for (let round = nextRound(); round.roundAt <= until; round = nextRound()) {
        await pass(round.roundAt)
        round.roundAt += roundMs
        void look(replicas.indexOf(round))
        await drain()
      }
      await pass(until)
    },
    /** Somebody deletes the Secret that says which setting holds. */
    loseRecord: () => held.remove(recordSecret),
    /** Somebody deletes the Secret with what is kept of both, or what is kept of one of them. */
    lose(place?: number) {
      held.remove(secretOf('team'), place === undefined ? undefined : clusters[place]?.uid)
      losses.add(place, replicas)
    },
    isFree,
    /** Throws if pods of one RayCluster, while both lived, have not accepted each other. */
    judge() {
      if (split !== undefined) throw split
    }
  }

  function replica(setting: TrustSetting, place: number) {
    const secrets = createClusterSecrets(held.client, 'rayguard-system')
    // What is known of the API server's clock is known to a second or so.
    const apiClock = () => now + (place - 1) * 1500
    const foreign = () => seen(place).some(({ certificate }) => certificate === 'foreign')
    const record = createRecord({
      ...{ secrets, setting, clock: apiClock },
      past: async () => ({ signed: seen(place).length > 0, foreign: foreign() })
    }).current
    const authority = createPerClusterAuthority({
      authority: {
        ...outside,
        issue: request => held.ask(() => outside.issue(request))
      },
      ...{ secrets, record, clock, apiClock, random: randomBytes, leafSeconds },
      podsOf: ({ uid }) => seen(place, uid),
      perNamespace: 100,
      onChange: () => {}
    })
    const upkeep = createUpkeep({
      ...{ authority, secrets, record, foreign, clock, apiClock, everyMs: 60_000 },
      exists: async () => true,
      runs: ({ uid }) => seen(place, uid).length > 0,
      onChange: () => {},
      onFault() {
        made.faults += 1
      }
    })
    const roundAt = now + roundMs - place * roundsApartMs
    const made = { authority, upkeep, record, ready: false, roundAt, faults: 0 }
    return made
  }

  async function look(place: number): Promise<void> {
    const replica = replicas[place]
    if (!replica) return
    const { faults } = replica
    const seen = losses.seenBy(replica)
    await replica.upkeep.look()
    if (replica.faults === faults) seen()
  }

  function nextRound() {
    return replicas.reduce((one, other) => (other.roundAt < one.roundAt ? other : one))
  }

  async function drain(): Promise<void> {
    for (await quiet(); held.waiting > 0; await quiet()) held.step(0, false)
  }

  /** Who waits too long for an answer gives up. */
  async function pass(until: number): Promise<void> {
    for (let next = held.nextTimeout(); next <= until; next = held.nextTimeout()) {
      now = Math.max(now, next)
      held.timeOut()
      await quiet()
    }
    now = Math.max(now, until)
    await quiet()
  }

  /** It is asked for nothing before it knows which setting holds. */
  async function begun(replica: (typeof replicas)[0]): Promise<void> {
    if (!replica.ready) await replica.record()
    replica.ready = true
  }

  async function enroll(place: number, by: number): Promise<void> {
    const [pod, replica] = [pods[place], replicas[by]]
    if (!pod || !replica || !isFree(pod)) return
    const attempt = { at: now }
    pod.attempt = attempt
    try {
      await begun(replica)
      const issued = await replica.authority.issue({ ...asked, rayCluster: of(pod) })
      const waits = pod.attempt === attempt && now - attempt.at <= patienceMs
      if (waits && pod.endedAt === undefined) {
        hold(pod, issued.certificate, issued.trustAnchors, attempt.at)
      }
    } catch (error) {
      const { code = String(error) } = error as { code?: string }
      counts.refused[code] = (counts.refused[code] ?? 0) + 1
    }
    if (pod.attempt === attempt) delete pod.attempt
  }

  /** Its agent asks one replica at a time. */
  function isFree({ endedAt, held, attempt }: PlayedPod): boolean {
    const waits = attempt !== undefined && now - attempt.at <= patienceMs
    return endedAt === undefined && held === undefined && !waits
  }

  function hold(pod: PlayedPod, certificate: string, trustAnchors: string, askedAt: number): void {
    const anchor = new X509Certificate(trustAnchors)
    const fingerprint = anchor.fingerprint256.replaceAll(':', '').toLowerCase()
    pod.held = {
      certificate: new X509Certificate(certificate),
      keySha256: authorityKeySha256(readCertificate(anchor.raw)),
      ...{ anchor, trustAnchors, isOwn: fingerprint !== root, at: now, askedAt }
    }
    counts[pod.held.isOwn ? 'own' : 'shared'] += 1
    for (const other of pods) {
      if (other.cluster === pod.cluster && other.endedAt === undefined) judge(other, pod)
    }
  }

  function judge(earlier: PlayedPod, later: PlayedPod): void {
    try {
      accepts(earlier, later)
    } catch (error) {
      if (mayStandApart(earlier)) counts.traceless += 1
      else split ??= error
    }
  }

  function mayStandApart({
    cluster,
    createdAt,
    seenAfterMs,
    saysAfterMs,
    held
  }: PlayedPod): boolean {
    if (held === undefined) return false
    const { at, askedAt } = held
    const toldAt = Math.max(at + saysAfterMs, createdAt + Math.max(...seenAfterMs))
    return losses.mayStandApart({ cluster, askedAt, toldAt })
  }

  /** Whether a watch of this replica shows it, and what its status says. */
  function seen(place: number, uid?: string): ClusterPod[] {
    return pods.flatMap((pod): ClusterPod[] => {
      const lag = pod.seenAfterMs[place] ?? 0
      const isThere = pod.createdAt + lag <= now && now < (pod.endedAt ?? now + 1) + lag
      if (!isThere || (uid !== undefined && of(pod).uid !== uid)) return []
      const { node, createdAt, held } = pod
      if (held === undefined || held.at + pod.saysAfterMs > now) {
        return [{ node, createdAt, certificate: 'unknown' }]
      }
      const certificate = held.isOwn ? 'foreign' : 'held'
      return [{ node, createdAt, certificate, anchorKeySha256: held.keySha256 }]
    })
  }

  function of({ cluster }: NewPod): RayClusterReference {
    return clusters[cluster % clusters.length] as RayClusterReference
  }
}

/** Each way: the anchor that the one trusts has signed the other, as gRPC judges. */
function accepts(one: PlayedPod, other: PlayedPod): void {
  for (const [a, b] of [
    [one.held, other.held],
    [other.held, one.held]
  ]) {
    if (!a || !b) continue
    // Each was judged by its own anchor when it came.
    if (one !== other && a.trustAnchors === b.trustAnchors) continue
    if (b.certificate.checkIssued(a.anchor) && b.certificate.verify(a.anchor.publicKey)) continue
    throw new Error(
      `pods of one RayCluster do not accept each other: ${a.anchor.subject}, ${b.anchor.subject}`
    )
  }
}

/** Until nothing more happens without a call that is answered, or time. */
async function quiet(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await new Promise(resolve => setImmediate(resolve))
}
