/**
 * The CAs of single RayClusters in Secrets of the real API server: written with the rights of the manifests and under
 * their policy, by replicas that race, and gone with what they were for.
 */
import { createPublicKey, randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { RayClusterReference } from '../../src/authority/authority.ts'
import { openPemAuthority } from '../../src/authority/pem-authority.ts'
import {
  entryIn,
  entrySecrets,
  ownCasIn,
  recordSecret,
  secretOf
} from '../../src/authority/per-cluster/entries.ts'
import { createPerClusterAuthority } from '../../src/authority/per-cluster/per-cluster.ts'
import { createRecord, settlingMs } from '../../src/authority/per-cluster/record.ts'
import { createClusterSecrets } from '../../src/authority/per-cluster/secrets.ts'
import { createUpkeep } from '../../src/authority/per-cluster/upkeep.ts'
import { isThere } from '../../src/cli/components/trust.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type { KubernetesObject, Secret } from '../../src/kubernetes/objects.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { connect, makeNamespace, makeToken, skip } from '../support/cluster.ts'
import { makeCa, openssl } from '../support/cluster-certificates.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { readManifest, toInput } from '../support/cluster-manifest.ts'
import { createRights } from '../support/cluster-process.ts'
import { rayCluster } from '../support/cluster-ray.ts'
import { connectionTo } from '../support/enrollment-stage.ts'

const own = 'rayguard-system'
const secretPath = (name: string) => `/api/v1/namespaces/${own}/secrets/${name}`

t.test('the CAs of Ray clusters on a real API server', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const ca = makeCa(folder, 'ray-pods')
  await createRights(api)
  const policies = (await readManifest()).filter(
    ({ metadata }) => metadata.name === 'rayguard-own-objects'
  )
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], toInput(policies))
  const clean = async () => {
    for (const name of [recordSecret, ...entrySecrets]) await api.delete(secretPath(name))
  }
  t.teardown(async () => {
    await clean()
    await kubectl(['delete', '-f', '-'], toInput(policies))
    api.close()
  })
  await clean()

  const token = await makeToken(api, own, 'rayguard-enrollment')
  const changes: string[] = []
  const replica = async (perNamespace = 1_000) => {
    const client = createClient(connectionTo(api.server, api.ca, token), { timeoutMs: 10_000 })
    const sources = { clock: () => Date.now() + 1000, random: randomBytes }
    const outer = await openPemAuthority({ ...ca }, { ...sources, pollMs: 0, signsCas: true })
    const secrets = createClusterSecrets(client, own)
    const authority = createPerClusterAuthority({
      ...{ ...sources, authority: outer, secrets, trust: 'perCluster' },
      record: async () => ({ trust: 'perCluster', since: 0, settled: false }),
      apiClock: Date.now,
      podsOf: () => [{ node: 'head', createdAt: Date.now(), certificate: 'unknown' }],
      leafSeconds: 3600,
      perNamespace,
      onChange: (change, { name }) => changes.push(`${change} ${name}`)
    })
    t.teardown(async () => {
      await authority.close()
      await client.close()
    })
    return { authority, secrets, client }
  }
  const replicas = await Promise.all([replica(), replica(), replica()])
  const [first, second] = replicas as [(typeof replicas)[0], (typeof replicas)[0], ...unknown[]]
  const issue = ({ authority }: typeof first, rayCluster: RayClusterReference) => {
    const { privateKey } = makeKeyPairSync()
    return authority.issue({
      publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
      csr: Buffer.from(createCertificateRequest(privateKey)),
      names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
      lifetimeSeconds: 3600,
      rayCluster
    })
  }
  const cluster = (name: string, namespace = 'team') => ({ namespace, name, uid: randomUUID() })
  const clusters = Array.from({ length: 40 }, (_, index) => cluster(`c${index}`))
  const [one] = clusters as [ReturnType<typeof cluster>]

  await t.test('three replicas race for forty clusters, and each gets one CA', async t => {
    const anchors = await Promise.all(
      clusters.map(async each => {
        const issued = await Promise.all(replicas.map(from => issue(from, each)))
        return new Set(issued.map(({ trustAnchors }) => trustAnchors))
      })
    )
    t.ok(
      anchors.every(each => each.size === 1),
      'the same in every replica'
    )
    t.equal(new Set(anchors.flatMap(each => [...each])).size, 40, 'and no two the same')
    t.equal(changes.length, 40, 'each was made once')
    const [anchor = ''] = anchors[0] ?? []
    const file = join(folder, 'anchor.crt')
    writeFileSync(file, anchor)
    t.match(openssl('verify', '-x509_strict', '-CAfile', ca.certificateFile, file), /OK/, 'openssl')
  })

  await t.test('attack 76: three replicas race for one namespace, the quota holds', async t => {
    const most = 5
    const strict = await Promise.all([replica(most), replica(most), replica(most)])
    const answers = await Promise.allSettled(
      strict.flatMap(from =>
        Array.from({ length: 2 * most }, (_, index) => issue(from, cluster(`f${index}`, 'crowded')))
      )
    )
    const { data } = await api.get<Secret>(secretPath(secretOf('crowded')))
    t.equal(ownCasIn(data ?? {}, 'crowded').length, most, 'so many CAs stand there')
    t.equal(answers.filter(({ status }) => status === 'fulfilled').length, most, 'and sign')
    for (const answer of answers)
      if (answer.status === 'rejected') t.match(answer.reason, { code: 'Exhausted' }, 'no other')
  })

  await t.test('a Secret that was deleted is brought back by whom has it in use', async t => {
    const before = await issue(first, one)
    await api.delete(secretPath(secretOf(one.namespace)))
    const upkeep = createUpkeep({
      ...first,
      record: async () => ({ trust: 'perCluster', since: 0, settled: false }),
      exists: async () => true,
      runs: () => false,
      foreign: () => false,
      clock: () => performance.now(),
      apiClock: Date.now,
      everyMs: 60_000,
      onChange: (change, { name }) => changes.push(`${change} ${name}`),
      onFault: error => t.fail(String(error))
    })
    await upkeep.look()
    const stored = await api.get<Secret>(secretPath(secretOf(one.namespace)))
    t.match(entryIn(stored.data ?? {}, one.uid), { certificate: before.trustAnchors }, 'as it was')
    t.equal((await issue(second, one)).trustAnchors, before.trustAnchors, 'for all')
  })

  await t.test('replicas of both settings start at once, and one word stands for all', async t => {
    const time = { now: Date.now() }
    const records = replicas.map(({ secrets }, index) =>
      createRecord({
        ...{ secrets, setting: index === 0 ? ('shared' as const) : ('perCluster' as const) },
        clock: () => time.now,
        past: async () => ({ signed: false, foreign: false })
      })
    )
    const read = () => Promise.all(records.map(record => record.current()))
    await read()
    time.now += 10_000
    const [word, ...others] = await read()
    t.ok((word?.since ?? 0) > 0, 'there are CAs: it is no first installation')
    t.strictSame(others, [word, word], 'who was written over follows')
    time.now += settlingMs
    const later = await read()
    t.ok(
      later.some(({ since }) => since === time.now),
      'until a settling time is over'
    )
    time.now += 10_000
    t.equal(new Set((await read()).map(({ since }) => since)).size, 1, 'and one word stands again')
  })

  await t.test('attack 76: RayClusters come and go, and each CA goes with its own', async t => {
    const namespace = 'trust-removal'
    await makeNamespace(api, namespace)
    t.teardown(() => api.delete(`/api/v1/namespaces/${namespace}`))
    const path = `/apis/ray.io/v1/namespaces/${namespace}/rayclusters`
    const made = async (name: string) => {
      const { spec, ...rest } = rayCluster(name)
      // Left to another controller, so that KubeRay makes no pods of it.
      const idle = { ...rest, spec: { ...spec, managedBy: 'kueue.x-k8s.io/multikueue' } }
      const { metadata } = await api.create<KubernetesObject>(path, idle)
      const found = { namespace, name, uid: metadata.uid ?? '' }
      await issue(first, found)
      return found
    }
    const [stays, gone, former] = [await made('stays'), await made('gone'), await made('again')]
    for (const { name } of [gone, former]) await api.delete(`${path}/${name}`)
    const again = await made('again')
    t.not(again.uid, former.uid, 'one comes back under its name')

    const time = { now: 0 }
    const removed: string[] = []
    const calls = createCalls(second.client)
    const upkeep = createUpkeep({
      ...second,
      record: async () => ({ trust: 'perCluster', since: 0, settled: false }),
      exists: entry => isThere(calls, entry),
      runs: () => false,
      foreign: () => false,
      clock: () => time.now,
      apiClock: Date.now,
      everyMs: 60_000,
      onChange: (change, { uid }) => removed.push(`${change} ${uid}`),
      onFault: error => t.fail(String(error))
    })
    const left = async () => {
      const { data } = await api.get<Secret>(secretPath(secretOf(namespace)))
      return ownCasIn(data ?? {}, namespace).sort()
    }
    const all = [stays, gone, former, again].map(({ uid }) => uid).sort()
    await upkeep.look()
    time.now += 10 * 60_000 - 1
    await upkeep.look()
    t.strictSame(await left(), all, 'not before they have been gone for ten minutes')
    time.now += 1
    await upkeep.look()
    t.strictSame(await left(), [stays.uid, again.uid].sort(), 'then theirs alone are gone')
    for (const { uid } of [gone, former]) t.ok(removed.includes(`removed ${uid}`), 'which is told')
    const { trustAnchors } = await issue(second, stays)
    t.equal(trustAnchors, (await issue(first, stays)).trustAnchors, 'the CA that stays signs on')
  })
})
