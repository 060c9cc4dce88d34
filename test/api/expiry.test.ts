/** How long certificates live and what is told of their end, against the real API server and operator. */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import {
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  skip
} from '../support/cluster.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { playKubelet, sayEnd } from '../support/cluster-kubelet.ts'
import { startServe } from '../support/cluster-process.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { sample } from '../support/cluster-samples.ts'

const label = 'rayguard.dev/certificate-lifetime'
const dayMs = 86_400_000
const settings = {
  enrollment: { lifetime: '10d', namespaceLifetime: { shortest: '1d', longest: '20d' } }
}

interface CoreEvent extends KubernetesObject {
  reason: string
  note: string
  regarding: { kind: string; name: string }
}

t.test('the lifetime of certificates', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const rayguard = await startRayguard(api, folder, settings)
  await rayguard.register()
  const namespace = await makeNamespace(api, 'expiry', { [label]: '15d' })
  const kubelet = await playKubelet(api, namespace, { folder, network: 84 })
  t.teardown(async () => {
    await kubelet.stop()
    await api.delete(`/api/v1/namespaces/${namespace}`)
    await rayguard.unregister()
    await rayguard.stop()
    api.close()
  })
  const podsPath = `/api/v1/namespaces/${namespace}/pods`
  const cluster = 'raycluster-kuberay'
  const daysOf = async (name: string) => {
    const run = await eventually(`the agent of ${name} has ended`, () => kubelet.runs.get(name))
    const certificate = new X509Certificate(await readFile(join(run.directory, 'tls.crt')))
    return Math.round((Date.parse(certificate.validTo) - Date.now()) / dayMs)
  }
  const setLabel = (value: string | null) =>
    api.patch(`/api/v1/namespaces/${namespace}`, { metadata: { labels: { [label]: value } } })
  const worker = async (known: ReadonlySet<string>) =>
    eventually('a new worker', async () => {
      const pods = await api.list<Pod>(podsPath)
      return pods.find(({ metadata }) => !known.has(metadata.name ?? ''))
    })
  const scale = (replicas: number) =>
    api.patch(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/${cluster}`, {
      spec: { workerGroupSpecs: [{ ...group, replicas, minReplicas: replicas, maxReplicas: 9 }] }
    })
  const namesOf = async () =>
    new Set((await api.list<Pod>(podsPath)).map(({ metadata }) => metadata.name ?? ''))

  const [object] = (await sample('ray-cluster.sample')) as [KubernetesObject]
  const [group] = (object as unknown as { spec: { workerGroupSpecs: object[] } }).spec
    .workerGroupSpecs
  await apply(api, namespace, [object])

  await t.test('is what the label of the namespace says', async t => {
    const pods = await eventually('two pods', async () => {
      const found = await api.list<Pod>(podsPath)
      return found.length === 2 && found
    })
    for (const { metadata } of pods) t.equal(await daysOf(metadata.name ?? ''), 15)
  })

  await t.test('is the nearer bound where the label is outside, and people are told', async t => {
    const before = await namesOf()
    await setLabel('365d')
    // for five seconds the server may still know the former one
    await new Promise(resolve => setTimeout(resolve, 6_000))
    await scale(2)
    const { metadata } = await worker(before)
    t.equal(await daysOf(metadata.name ?? ''), 20)
    const [event] = await eventsOf(api, namespace, 'LifetimeLabel', 1)
    t.match(event, { regarding: { kind: 'RayCluster', name: cluster }, note: /365d.*live for 20d/ })
  })

  await t.test('is not guessed where the label is no duration', async t => {
    const before = await namesOf()
    await setLabel('3od')
    await new Promise(resolve => setTimeout(resolve, 6_000))
    const dryRun = await run(
      'kubectl',
      ['-n', namespace, 'create', '--dry-run=server', '-f', '-'],
      JSON.stringify(rayPodOf(cluster))
    )
    t.match(dryRun.stderr, /Warning: rayguard: LifetimeLabel: .*=3od/, 'whoever creates it sees it')
    await scale(3)
    const { metadata } = await worker(before)
    const told = await eventually('the Event', async () =>
      (await eventsOf(api, namespace, 'LifetimeLabel', 2)).find(({ note }) => /3od/.test(note))
    )
    t.match(told, { regarding: { kind: 'RayCluster', name: cluster } })
    t.match(await kubectl(['-n', namespace, 'describe', 'raycluster', cluster]), /3od; expected/)
    t.notOk(kubelet.runs.has(metadata.name ?? ''), 'the pod waits')
    await setLabel('3d')
    t.equal(await daysOf(metadata.name ?? ''), 3, 'and goes on when it is put right')
  })

  await t.test('its end is told once, by two replicas and after a restart', async t => {
    const [pod] = (await api.list<Pod>(podsPath)).filter(
      ({ metadata }) => metadata.labels?.['ray.io/node-type'] === 'worker'
    )
    const end = Math.floor(Date.parse(pod?.metadata.creationTimestamp ?? '') / 1000) + 1
    await sayEnd(api, pod as Pod, new Date(end * 1000))
    const files = { certificateFile: join(folder, 'serving.crt') }
    const serving = { kind: 'files', ...files, privateKeyFile: join(folder, 'serving.key') }
    const injection = {
      image: rayguard.image,
      serverUrl: rayguard.enrollmentUrl,
      serverCaFile: join(folder, 'serving-ca.crt')
    }
    // each looks as soon as it knows the pods
    const replica = (name: string) =>
      startServe(api, {
        ...{ folder, component: 'webhook', name },
        settings: { serving, injection, ...settings }
      })
    const results = (metrics: typeof rayguard.metrics) =>
      metrics('rayguard_events_total{reason="CertificateNearItsEnd"')
    const toldTwice = (metrics: typeof rayguard.metrics) =>
      eventually('both Events are told', async () => {
        const lines = await results(metrics)
        return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0) === 2 && lines
      })
    const second = await replica('webhook-2')
    await toldTwice(second.metrics)
    await second.stop()
    const third = await replica('webhook-3')
    t.teardown(() => third.stop())
    const [result] = await toldTwice(third.metrics)
    t.match(result, /result="repeated"} 2/)
    const events = await eventsOf(api, namespace, 'CertificateNearItsEnd', 2)
    t.strictSame(events.map(({ regarding }) => regarding.kind).sort(), ['Pod', 'RayCluster'])
    const near = await third.metrics('rayguard_pod_certificates_near_end')
    t.strictSame(
      near.map(line => line.split(' ').at(-1)),
      ['1', '1', '1', '1'],
      'who has ended is within every time'
    )
    const [earliest] = await third.metrics('rayguard_pod_certificate_earliest_expiry')
    t.equal(Number(earliest?.split(' ').at(-1)), end)
    const status = await run('node', ['dist/rayguard.js', 'status', '-n', namespace])
    t.match(status.stdout, new RegExp(`${pod?.metadata.name}: its certificate has ended`))
  })
})

/** So many of one reason, once they are there. */
function eventsOf(api: ClusterApi, namespace: string, reason: string, count: number) {
  return eventually(`${count} Events ${reason}`, async () => {
    const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`
    const found = (await api.list<CoreEvent>(path)).filter(each => each.reason === reason)
    return found.length >= count && found
  })
}

function rayPodOf(cluster: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'probe',
      labels: { 'ray.io/cluster': cluster, 'ray.io/node-type': 'worker' }
    },
    spec: { containers: [{ name: 'ray', image: 'rayproject/ray:2.58.0' }] }
  }
}
