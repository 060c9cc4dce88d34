/** A stand-in API server, an external CA, and as many replicas as a test asks for that give each RayCluster its own CA. */
import { createPublicKey, randomBytes, randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import type { Authority, RayClusterReference } from '../../src/authority/authority.ts'
import { createLocalIssuer } from '../../src/authority/local.ts'
import { usableChain } from '../../src/authority/pem-files.ts'
import { openPemKey } from '../../src/authority/pem-key.ts'
import {
  createPerClusterAuthority,
  type PerClusterOptions
} from '../../src/authority/per-cluster/per-cluster.ts'
import {
  createRecord,
  type Past,
  type TrustRecord
} from '../../src/authority/per-cluster/record.ts'
import { createClusterSecrets } from '../../src/authority/per-cluster/secrets.ts'
import type { ClusterPod } from '../../src/authority/per-cluster/standing.ts'
import { createUpkeep } from '../../src/authority/per-cluster/upkeep.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'
import { clientToken, connectionTo, servingPair } from './enrollment-stage.ts'

export const namespace = 'rayguard-system'
export const daySeconds = 86_400
export const dayMs = daySeconds * 1000
export const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
/** Never anything but `perCluster`. */
export const ever: TrustRecord = { trust: 'perCluster', since: 0, settled: false }

/** The external CA; its clock and what it seals with are the test's. */
interface Counting extends Authority {
  made: number
}

type Stage = Awaited<ReturnType<ReturnType<typeof openPerCluster>['stage']>>
type Replica = ReturnType<Stage['replica']>

/** For all tests of a file; the CA `root` is there. */
export function openPerCluster(t: Test) {
  const workshop = openWorkshop(t)
  const pair = servingPair()
  makeCa(workshop, 'root', { days: 3650 })

  return { workshop, external, accepts, stage }

  function external(
    clock: () => number,
    changes: Partial<Authority> = {},
    name = 'root'
  ): Counting {
    const chain = usableChain(workshop.read(`${name}.crt`), { now: new Date(clock()) })
    const key = openPemKey(workshop.read(`${name}.key`))
    const issuer = createLocalIssuer('pem', chain, key, { clock, random: randomBytes })
    const authority = {
      namesFrom: 'server' as const,
      made: 0,
      issue: issuer.issue,
      describe: issuer.describe,
      intermediates: {
        ...issuer.intermediates,
        async issue(request: Parameters<typeof issuer.intermediates.issue>[0]) {
          authority.made += 1
          return await issuer.intermediates.issue(request)
        }
      },
      async close() {},
      ...changes
    }
    return authority
  }

  /** As gRPC does: the anchor alone is trusted, whatever is above it. */
  function accepts(anchor: string, leaf: string, at: number, also = ''): boolean {
    workshop.write('anchor.crt', anchor)
    workshop.write('leaf.crt', leaf)
    workshop.write('also.crt', also || leaf)
    const time = ['-attime', String(Math.floor(at / 1000))]
    return workshop.judge(
      ...['verify', '-x509_strict', '-partial_chain', '-CAfile', 'anchor.crt'],
      ...['-untrusted', 'also.crt', ...time, 'leaf.crt']
    ).ok
  }

  /** A stand-in API server and as many replicas as a test asks for. */
  async function stage(t: Test) {
    const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
    const server = await standIn.listen()
    const pods = new Map<string, ClusterPod[]>()
    const changes: string[] = []
    const time = { now: Math.floor(Date.now() / 1000) * 1000 + 2000 }
    t.teardown(() => standIn.close())

    function replica(options: Partial<PerClusterOptions> = {}) {
      const client = createClient(connectionTo(server, pair.ca), { timeoutMs: 30_000 })
      t.teardown(() => client.close())
      const secrets = createClusterSecrets(client, namespace)
      const inner: Authority & { made?: number } = options.authority ?? external(() => time.now)
      const all: PerClusterOptions = {
        ...{ authority: inner, secrets, record: async () => ever },
        clock: () => time.now,
        apiClock: () => time.now,
        random: randomBytes,
        podsOf: ({ uid }) => pods.get(uid) ?? [head(time.now, 'unknown')],
        leafSeconds: 90 * daySeconds,
        perNamespace: 100,
        onChange: (change, { name }) => changes.push(`${change} ${name}`),
        ...options
      }
      const authority = createPerClusterAuthority(all)
      const issue = (rayCluster: RayClusterReference, lifetimeSeconds = all.leafSeconds) => {
        const key = makeKeyPairSync().privateKey
        return authority.issue({
          publicKey: createPublicKey(key).export({ type: 'spki', format: 'der' }),
          csr: Buffer.from(createCertificateRequest(key)),
          ...{ names, lifetimeSeconds, rayCluster }
        })
      }
      const { record, apiClock, onChange } = all
      return { authority, secrets, issue, record, inner, apiClock, onChange }
    }
    const secret = (name: string) => {
      const target = { kind: 'Secret', apiVersion: 'v1', namespace, name }
      return standIn.store.get(target) as Secret | undefined
    }
    const recordOf = (setting: TrustRecord['trust'], past: Partial<Past> = {}) =>
      createRecord({
        ...{ secrets: replica().secrets, setting, clock: () => time.now },
        past: async () => ({ signed: false, foreign: false, ...past })
      })
    return { standIn, replica, recordOf, pods, changes, time, secret }
  }
}

/** Of whom a RayCluster has its CA. */
export function head(createdAt: number, certificate: ClusterPod['certificate']): ClusterPod {
  return { node: 'head', createdAt, certificate }
}

export function cluster(name: string, namespace = 'team'): RayClusterReference {
  return { namespace, name, uid: randomUUID() }
}

/** Nothing is written before so many are about to: each has read that there is nothing yet. */
export function whenAllWrite(standIn: StandIn, count: number) {
  let open = () => {}
  const gate = {
    waiting: 0,
    until: new Promise<void>(resolve => {
      open = resolve
    })
  }
  standIn.interfere(({ method }) => {
    if (method !== 'POST') return undefined
    gate.waiting += 1
    if (gate.waiting === count) open()
    return { until: gate.until }
  })
  return gate
}

/** The upkeep of a replica whose RayClusters all exist. */
export function upkeepOf(
  { authority, secrets, record, apiClock, onChange }: Replica,
  changes: Partial<Parameters<typeof createUpkeep>[0]> = {}
) {
  return createUpkeep({
    ...{ authority, secrets, record, apiClock },
    exists: async () => true,
    runs: () => false,
    foreign: () => false,
    clock: () => performance.now(),
    everyMs: 60_000,
    onChange,
    onFault(error) {
      throw error
    },
    ...changes
  })
}
