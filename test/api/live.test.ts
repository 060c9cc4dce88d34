/** Live clusters and `rayguard status` against the real API server and operator: what ran before Rayguard stays whole. */
import t from 'tap'
import { enrollContainer } from '../../src/contract/pod.ts'
import type { KubernetesObject, Pod, WebhookConfiguration } from '../../src/kubernetes/objects.ts'
import {
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  skip
} from '../support/cluster.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { sample } from '../support/cluster-samples.ts'

const registration = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rayguard'
const name = 'raycluster-kuberay'

t.test('a cluster that ran before Rayguard', { skip }, async t => {
  const api = await connect()
  const namespace = await makeNamespace(api, 'before')
  t.teardown(async () => {
    await api.delete(`/api/v1/namespaces/${namespace}`)
    api.close()
  })
  const podsPath = `/api/v1/namespaces/${namespace}/pods`
  const [cluster] = (await sample('ray-cluster.sample')) as [KubernetesObject]
  await apply(api, namespace, [cluster])
  const before = await podsOf(api, podsPath, 2)
  t.equal(injected(before), 0, 'without Rayguard')

  const rayguard = await startRayguard(api, t.testdir())
  await rayguard.register()
  t.teardown(async () => {
    await rayguard.unregister()
    await rayguard.stop()
  })

  await t.test('a new worker of it gets no TLS, and people are told', async t => {
    const { spec } = cluster as unknown as { spec: { workerGroupSpecs: object[] } }
    const [group] = spec.workerGroupSpecs
    const workerGroupSpecs = [{ ...group, replicas: 2, minReplicas: 2, maxReplicas: 2 }]
    await api.patch(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/${name}`, {
      spec: { workerGroupSpecs }
    })
    t.equal(injected(await podsOf(api, podsPath, 3)), 0, 'nobody got what the others lack')
    const events = await eventually('the Event', async () => {
      const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`
      const found = await api.list<KubernetesObject & { reason: string; regarding: object }>(path)
      const ours = found.filter(({ reason }) => reason === 'LeftWithoutTLS')
      return ours.length > 0 && ours
    })
    t.match(events, [{ regarding: { kind: 'RayCluster', name } }], 'one Event at the RayCluster')
    t.equal(events.length, 1)
    const described = await kubectl(['describe', '-n', namespace, 'raycluster', name])
    t.match(described, /LeftWithoutTLS.*rayguard\.dev\/webhook/)
    t.match(await rayguard.metrics('rayguard_clusters_without_tls'), [/ 1$/], 'and the metric')
  })

  await t.test('status lists it, and fails once its namespace requires TLS', async t => {
    const { checks } = await status()
    t.match(
      checks.filter(({ id }) => id === 'ClusterWithoutTls'),
      [{ state: 'warning', text: new RegExp(`${namespace}/${name}`) }]
    )
    await api.patch(`/api/v1/namespaces/${namespace}`, {
      metadata: { labels: { 'rayguard.dev/tls': 'required' } }
    })
    const required = (await status()).checks.filter(({ id }) => id === 'ClusterWithoutTls')
    t.match(required, [{ state: 'failed' }], 'its new pods would be refused')
    await api.patch(`/api/v1/namespaces/${namespace}`, {
      metadata: { labels: { 'rayguard.dev/tls': null } }
    })
  })

  await t.test('when all its pods are deleted, they come back with TLS', async t => {
    // pods that no node runs go one by one, and KubeRay would be quicker; suspended, it makes none meanwhile
    const path = `/apis/ray.io/v1/namespaces/${namespace}/rayclusters/${name}`
    await api.patch(path, { spec: { suspend: true } })
    await podsOf(api, podsPath, 0)
    await api.patch(path, { spec: { suspend: false } })
    const pods = await podsOf(api, podsPath, 3)
    t.equal(injected(pods), 3)
    await eventually('no cluster is without TLS', async () =>
      (await rayguard.metrics('rayguard_clusters_without_tls')).every(line => / 0$/.test(line))
    )
  })

  await t.test('status says what is wrong, and its exit code that something is', async t => {
    const found = await api.get<WebhookConfiguration>(registration)
    const states = async (id: string) => {
      const { checks, code } = await status()
      t.equal(code, 1, `${id}: exit code`)
      return new Set(checks.filter(check => check.id === id).map(({ state }) => state))
    }
    t.ok((await states('Replicas')).has('failed'), 'no pod of Rayguard runs here')
    const damaged = structuredClone(found)
    for (const { clientConfig } of damaged.webhooks ?? [])
      if (clientConfig) clientConfig.caBundle = null
    await api.replace(registration, damaged)
    t.ok((await states('CaBundle')).has('failed'), 'a caBundle that is gone')
    await api.delete(registration)
    t.ok((await states('Registration')).has('failed'), 'a registration that is gone')
  })
})

interface Check {
  id: string
  state: string
  text: string
  advice?: string
}

async function status(): Promise<{ code: number; checks: Check[] }> {
  const { code, stdout } = await run('node', ['dist/rayguard.js', 'status', '-o', 'json'])
  return { code, ...(JSON.parse(stdout) as { checks: Check[] }) }
}

function podsOf(api: ClusterApi, path: string, count: number): Promise<Pod[]> {
  return eventually(`${count} pods`, async () => {
    const pods = await api.list<Pod>(path)
    return pods.length === count && pods
  })
}

function injected(pods: readonly Pod[]): number {
  return pods.filter(({ spec }) => spec.initContainers?.[0]?.name === enrollContainer).length
}
