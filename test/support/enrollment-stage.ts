/**
 * Everything around the enrollment server as tests need it: the stand-in for the Kubernetes API, a real client and watch,
 * a CA that signs, and a real HTTPS listener that pods reach from loopback addresses of their own.
 */
import { request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { Authority } from '../../src/authority/authority.ts'
import { createLifetimes, type Lifetimes } from '../../src/cli/components/lifetime.ts'
import { certificatesPath } from '../../src/contract/enrollment.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import type { TokenOptions } from '../../src/demo/stand-in-tokens.ts'
import {
  createEnrollment,
  type Enrollment,
  type EnrollmentOptions
} from '../../src/enrollment/enroll.ts'
import { type EnrollmentObservation, enrollmentRoutes } from '../../src/enrollment/route.ts'
import { claimedAddresses } from '../../src/identity/addresses.ts'
import { createIdentity, type Identity, type IdentityOptions } from '../../src/identity/identity.ts'
import { createPodIndex, type PodIndex } from '../../src/identity/pods.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import { type Client, createClient } from '../../src/kubernetes/client.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import type { CertificateNames } from '../../src/x509/names.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { issue, newAuthority, newKey } from './hand-made-certificates.ts'
import { image } from './ray-objects.ts'
import { createTestAuthority, type TestAuthority } from './test-authority.ts'

export interface StageOptions extends Partial<Omit<EnrollmentOptions, 'identity' | 'authority'>> {
  /** What settings say of lifetimes; the stage itself asks for an hour. */
  lifetimes?: Lifetimes
  /** Milliseconds, of what is remembered of labels. */
  labelClock?: () => number
  identity?: Partial<Omit<IdentityOptions, 'calls' | 'pods'>>
  /** Leaves the index of pods unstarted. */
  unsynced?: boolean
  /** Instead of the test's own; made over the client where it is asked through the Kubernetes API. */
  realAuthority?: Authority | ((client: Client) => Promise<Authority>)
  /** Before anything is asked of it. */
  prepare?: (standIn: StandIn) => void
}

export interface Stage {
  standIn: StandIn
  client: Client
  pods: PodIndex
  identity: Identity
  enrollment: Enrollment
  authority: TestAuthority
  observed: EnrollmentObservation[]
  url: string
  /** Of the stand-in. */
  server: string
  /** PEM; vouches for the stand-in and the listener. */
  serverCa: string
  close(): Promise<void>
  /** Stores a pod and waits until the watch has shown its addresses. */
  run(pod: Pod): Promise<Pod>
  /** What the pod's agent sends, and what it gets. */
  enroll(pod: Pod, wishes?: EnrollWishes): Promise<Reply>
  send(wishes: SendWishes): Promise<Reply>
}

export interface EnrollWishes {
  token?: string
  tokenOptions?: TokenOptions
  podIPs?: unknown
  csr?: string
  names?: CertificateNames
  from?: string
  headers?: Record<string, string>
}

export interface SendWishes {
  body: string | object
  from?: string
  headers?: Record<string, string>
  path?: string
}

export interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Record<string, unknown> & { code?: string }
}

export const clientToken = 'client-token-of-the-stand-in'

/** One lifetime, which no label changes. */
export function lifetimesOf(lifetimeSeconds: number): Lifetimes {
  const bounds = { shortestSeconds: lifetimeSeconds, longestSeconds: lifetimeSeconds }
  return { lifetimeSeconds, namespaceLifetime: bounds }
}

export function servingPair() {
  const ca = newAuthority('Stage serving CA')
  const key = newKey()
  const certificate = issue(ca, { key, dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] })
  const privateKey = key.export({ type: 'pkcs8', format: 'pem' }) as string
  return { certificate, privateKey, ca: ca.certificate }
}

export function connectionTo(server: string, ca: string, token = clientToken) {
  return {
    server,
    ca,
    credentials: async () => ({ headers: { authorization: `Bearer ${token}` } })
  }
}

export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const {
    identity: identityOptions = {},
    unsynced = false,
    lifetimes = lifetimesOf(3600),
    labelClock = () => performance.now(),
    realAuthority,
    prepare,
    ...enrollmentOptions
  } = options
  const pair = servingPair()
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  prepare?.(standIn)
  const server = await standIn.listen()
  const client = createClient(connectionTo(server, pair.ca), { timeoutMs: 5_000 })
  const pods = createPodIndex({
    client,
    random: Math.random,
    clock: () => performance.now(),
    backoffMs: 5
  })
  if (!unsynced) {
    pods.start()
    await pods.whenSynced
  }
  const calls = createCalls(client)
  const identity = createIdentity({
    calls,
    pods,
    audience: 'rayguard',
    images: [image],
    clusterDomain: 'cluster.local',
    shortNames: false,
    clock: Date.now,
    ...identityOptions
  })
  const authority = createTestAuthority(newAuthority('Stage pod CA'))
  const enrollment = createEnrollment({
    identity,
    authority:
      (typeof realAuthority === 'function' ? await realAuthority(client) : realAuthority) ??
      authority,
    checkSourceAddress: true,
    lifetimeOf: createLifetimes({ calls, lifetimes, clock: labelClock }),
    quota: { perPod: 20, perNamespace: 10_000 },
    hold: { requests: 0, timeoutMs: 0 },
    clock: Date.now,
    ...enrollmentOptions
  })
  const observed: EnrollmentObservation[] = []
  const app = Fastify({ https: { cert: pair.certificate, key: pair.privateKey } })
  await app.register(
    enrollmentRoutes({
      enroll: enrollment.enroll,
      observe: observation => observed.push(observation)
    })
  )
  // Of every address, as in a cluster: IPv4 peers appear as ::ffff:127.0.0.2.
  await app.listen({ host: '::', port: 0 })
  const url = `https://127.0.0.1:${(app.server.address() as AddressInfo).port}`

  const stage: Stage = {
    standIn,
    client,
    pods,
    identity,
    enrollment,
    authority,
    observed,
    url,
    server,
    serverCa: pair.ca,
    async run(pod) {
      const stored = standIn.put(pod)
      const ips = claimedAddresses((pod.status?.podIPs ?? []).map(({ ip }) => ip)) ?? []
      const indexed = ips.length > 0 && !pod.spec.hostNetwork && pod.status?.phase === 'Pending'
      if (indexed && !unsynced)
        await pods.whenShown(stored.metadata.uid ?? '', ips, { timeoutMs: 30_000 })
      return stored
    },
    enroll(pod, wishes = {}) {
      const ips = (pod.status?.podIPs ?? []).map(({ ip }) => ip)
      const token = wishes.token ?? standIn.issueToken(pod, wishes.tokenOptions)
      const csr = wishes.csr ?? createCertificateRequest(newKey(), wishes.names)
      const from = wishes.from ?? ips[0]
      return stage.send({
        body: { csr, podIPs: wishes.podIPs ?? ips },
        headers: { authorization: `Bearer ${token}`, ...wishes.headers },
        ...(from === undefined ? {} : { from })
      })
    },
    send: wishes => send(url, pair.ca, wishes),
    async close() {
      await app.close()
      await pods.stop()
      await client.close()
      await standIn.close()
    }
  }
  return stage
}

function send(url: string, ca: string, wishes: SendWishes): Promise<Reply> {
  const { body, from, headers = {}, path = certificatesPath } = wishes
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const asked = httpsRequest(
      new URL(path, url),
      {
        method: 'POST',
        ca,
        agent: false,
        ...(from === undefined ? {} : { localAddress: from }),
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
          ...headers
        }
      },
      answer => {
        const chunks: Buffer[] = []
        answer.on('data', chunk => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () => {
          const received = Buffer.concat(chunks).toString('utf8')
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: received === '' ? {} : JSON.parse(received)
          })
        })
      }
    )
    asked.on('error', reject)
    asked.end(text)
  })
}
