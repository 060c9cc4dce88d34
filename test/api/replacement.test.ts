/** Pods are replaced before their certificates end: the real Eviction API, budgets, Leases and the KubeRay operator. */
import t from 'tap'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import {
  type ApiFailure,
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  makeToken,
  skip
} from '../support/cluster.ts'
import { evictionsBy } from '../support/cluster-audit.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { playKubelet, sayEnd } from '../support/cluster-kubelet.ts'
import { toInput } from '../support/cluster-manifest.ts'
import { createRights, startServe } from '../support/cluster-process.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { isReady, nameOf } from '../support/cluster-replicas.ts'
import { sample } from '../support/cluster-samples.ts'

const own = 'rayguard-system'
const account = `system:serviceaccount:${own}:rayguard-replacement`
const lacking = skip || skipWithoutHelm

interface Budget extends KubernetesObject {
  status?: { currentHealthy: number }
}

interface CoreEvent extends KubernetesObject {
  reason: string
  regarding: { kind: string }
}

t.test('pods are replaced before their certificates end', { skip: lacking }, async t => {
  const api = await connect()
  // before the folder, which tap else removes while agents still work in it
  t.teardown(api.close)
  const folder = t.testdir()
  const objects = renderChart('replacement.enabled=true')
  const rayguard = await startRayguard(api, folder)
  await createRights(api, objects.filter(isReplacement))
  await rayguard.register()
  const namespace = await makeNamespace(api, 'replaced')
  const kubelet = await playKubelet(api, namespace, { folder, network: 85 })
  t.teardown(async () => {
    await api.delete(`/api/v1/namespaces/${namespace}`)
    // pods with certificates of the shared CA would be what the next part finds
    await eventually('no pod is left', async () => (await pods()).length === 0)
    await kubelet.stop()
    await rayguard.unregister()
    await rayguard.stop()
  })
  const replica = (name: string, more: object = {}) =>
    startServe(api, {
      ...{ folder, component: 'replacement', name },
      settings: { injection: { image: rayguard.image }, replacement: { interval: '5s', ...more } }
    })
  const pods = () => api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
  const whole = (count: number, gone: readonly Pod[] = []) =>
    eventually(
      `${count} ready pods`,
      async () => {
        const ready = (await pods()).filter(isReady)
        return (
          ready.length === count && !names(gone).some(name => names(ready).includes(name)) && ready
        )
      },
      150_000
    )
  const disturbed = watchDisturbed(pods)
  t.teardown(disturbed.stop)

  await applyCluster(api, namespace, 'one', 2)
  await applyCluster(api, namespace, 'two', 1)
  const before = await whole(5)
  // an end that is past: all are due, heads, too
  for (const pod of before)
    await sayEnd(api, pod, new Date(Date.parse(pod.metadata.creationTimestamp ?? '') + 1_000))
  const workers = before.filter(isWorker)
  const heads = before.filter(pod => !isWorker(pod))
  const budgets = `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`
  await api.create(budgets, {
    metadata: { name: 'all' },
    spec: { minAvailable: 3, selector: { matchLabels: { 'ray.io/node-type': 'worker' } } }
  })
  await eventually('the budget counts', async () => {
    const found = await api.find<Budget>(`${budgets}/all`)
    return found?.status?.currentHealthy === 3
  })
  const replicas = [await replica('replacement-1'), await replica('replacement-2')]
  t.teardown(() => Promise.all(replicas.map(each => each.stop())))
  const active = async () => {
    const found = await Promise.all(
      replicas.map(each => each.metrics('rayguard_replacement_active 1').catch(() => []))
    )
    return replicas[found.findIndex(lines => lines.length > 0)]
  }

  await t.test('a budget that allows nothing is waited for', async t => {
    await eventually('an eviction was blocked', async () =>
      (await evictionsBy(account, namespace)).some(({ status }) => status === 429)
    )
    t.strictSame(names(await whole(5)), names(before), 'all are there')
    const acting = await active()
    t.match(
      await acting?.metrics('rayguard_replacement_evictions_total'),
      [/result="blocked"} [1-9]/],
      'and people can see it'
    )
    await api.delete(`${budgets}/all`)
  })

  await t.test('workers are replaced, whoever holds the Lease, and none twice', async t => {
    disturbed.reset()
    await eventually(
      'the first is evicted',
      async () => (await succeeded(namespace)).length > 0,
      60_000
    )
    const killed = await active()
    t.ok(killed, 'one replica acts')
    await killed?.stop('SIGKILL')
    const after = await whole(5, workers)
    const evicted = await succeeded(namespace)
    t.strictSame(evicted.sort(), names(workers), 'each once, and nobody else')
    t.strictSame(names(after.filter(pod => !isWorker(pod))), names(heads), 'no head')
    t.equal(disturbed.most(), 1, 'one cluster at a time')
    t.not(await active(), killed, 'the other replica has taken over')
    t.notOk(after.filter(isWorker).some(({ status }) => /"ab"/.test(JSON.stringify(status))))
    const events = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`
    const told = (await api.list<CoreEvent>(events)).filter(
      ({ reason }) => reason === 'PodReplaced'
    )
    t.ok(told.length > 0 && told.every(({ regarding }) => regarding.kind === 'RayCluster'), 'told')
  })

  await t.test('heads are replaced by setting', async t => {
    await Promise.all(replicas.map(each => each.stop()))
    const third = await replica('replacement-3', { heads: true })
    t.teardown(() => third.stop())
    await eventually(
      'a head is evicted',
      async () => (await succeeded(namespace)).some(name => names(heads).includes(name)),
      60_000
    )
    await eventually('its successor is ready', async () => {
      const ready = (await pods()).filter(isReady)
      return ready.some(pod => !isWorker(pod) && !names(heads).includes(nameOf(pod)))
    })
  })

  await t.test(
    'attack 88: its account evicts no pod elsewhere, and none by name alone',
    async t => {
      const policies = objects.filter(
        object => isReplacement(object) && /^ValidatingAdmission/.test(object.kind ?? '')
      )
      await kubectl(['apply', '-f', '-'], toInput(policies))
      t.teardown(() => kubectl(['delete', '-f', '-'], toInput(policies)))
      const as = api.as(await makeToken(api, own, 'rayguard-replacement'))
      t.teardown(as.close)
      const evicts = async (place: string, preconditions?: object) => {
        const path = `/api/v1/namespaces/${place}/pods`
        const pod = {
          metadata: { name: 'victim' },
          spec: { containers: [{ name: 'x', image: 'x' }] }
        }
        if (!(await api.find(`${path}/victim`))) await api.create(path, pod)
        const { metadata } = (await api.find<Pod>(`${path}/victim`)) as Pod
        return as
          .create(`${path}/victim/eviction?dryRun=All`, {
            ...{ apiVersion: 'policy/v1', kind: 'Eviction' },
            metadata: { name: 'victim', namespace: place },
            deleteOptions: preconditions ?? { preconditions: { uid: metadata.uid } }
          })
          .then(
            () => 'evicted',
            (error: ApiFailure) => error.message
          )
      }
      t.teardown(() => api.delete('/api/v1/namespaces/kube-system/pods/victim'))
      await eventually('the policy is in force', async () =>
        /policy/i.test(await evicts('kube-system'))
      )
      t.match(await evicts('kube-system'), /does not look after/)
      t.match(await evicts(namespace, {}), /by UID/)
      t.equal(await evicts(namespace), 'evicted', 'what it is for goes on')
      await api.patch(`/api/v1/namespaces/${namespace}`, {
        metadata: { labels: { 'rayguard.dev/paused': 'true' } }
      })
      t.match(await evicts(namespace), /paused/)
    }
  )
})

/** How many clusters lack a ready pod at the same time, at most. */
function watchDisturbed(pods: () => Promise<Pod[]>) {
  let most = 0
  let stopped = false
  const loop = (async () => {
    while (!stopped) {
      const shaken = (await pods()).filter(pod => !isReady(pod))
      most = Math.max(
        most,
        new Set(shaken.map(pod => pod.metadata.labels?.['ray.io/cluster'])).size
      )
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  })()
  return {
    most: () => most,
    reset() {
      most = 0
    },
    async stop() {
      stopped = true
      await loop
    }
  }
}

const succeeded = async (namespace: string) =>
  (await evictionsBy(account, namespace)).flatMap(({ pod, status }) =>
    status === 201 ? [pod] : []
  )
const names = (pods: readonly Pod[]) => pods.map(({ metadata }) => metadata.name ?? '').sort()
const isWorker = ({ metadata }: Pod) => metadata.labels?.['ray.io/node-type'] === 'worker'
const isReplacement = ({ metadata }: KubernetesObject) => metadata.name === 'rayguard-replacement'

async function applyCluster(api: ClusterApi, namespace: string, name: string, replicas: number) {
  const [object] = await sample('ray-cluster.sample')
  const { spec } = object as unknown as { spec: { workerGroupSpecs: object[] } }
  const [group] = spec.workerGroupSpecs
  const workers = { ...group, replicas, minReplicas: replicas, maxReplicas: replicas }
  await apply(api, namespace, [
    {
      ...object,
      metadata: { name },
      spec: { ...spec, workerGroupSpecs: [workers] }
    } as KubernetesObject
  ])
}
