/** Rayguard comes under a Ray cluster that runs without it, and goes again: what runs goes on. */
import { enrollContainer } from '../../src/contract/pod.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { apply, eventually } from '../support/cluster.ts'
import { install, remove } from '../support/cluster-install.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import { rayCluster } from '../support/cluster-ray.ts'

const readyLimitMs = 300_000

part('live', async (t, { api, namespace: makeNamespace }) => {
  await remove()
  const namespace = await makeNamespace('earlier')
  const podsPath = `/api/v1/namespaces/${namespace}/pods`
  const clusterPath = `/apis/ray.io/v1/namespaces/${namespace}/rayclusters/earlier`
  const isReady = ({ metadata, status }: Pod) =>
    metadata.deletionTimestamp === undefined &&
    (status as { conditions?: { type: string; status: string }[] }).conditions?.some(
      ({ type, status }) => type === 'Ready' && status === 'True'
    )
  const readyPods = (count: number, gone: readonly string[] = []) =>
    eventually(
      `${count} ready pods`,
      async () => {
        const ready = (await api.list<Pod>(podsPath)).filter(
          pod => isReady(pod) && !gone.includes(pod.metadata.uid ?? '')
        )
        return ready.length === count && ready
      },
      readyLimitMs
    )
  const uids = (pods: Pod[]) => pods.map(({ metadata }) => metadata.uid ?? '')
  const injected = (pods: Pod[]) =>
    pods.filter(({ spec }) => spec.initContainers?.[0]?.name === enrollContainer).length

  const cluster = rayCluster('earlier')
  const workers = (count: number) => {
    const { workerGroupSpecs } = cluster.spec as { workerGroupSpecs: object[] }
    Object.assign(workerGroupSpecs[0] ?? {}, {
      replicas: count,
      minReplicas: count,
      maxReplicas: count
    })
    return workerGroupSpecs
  }
  workers(1)
  await apply(api, namespace, [cluster])
  const before = await readyPods(2)
  t.equal(injected(before), 0, 'a cluster without Rayguard runs')

  await t.test('Rayguard is installed', async t => install(t, t.testdir()))

  await t.test('a new worker of it stays without TLS, like the others', async t => {
    await api.patch(clusterPath, { spec: { workerGroupSpecs: workers(2) } })
    const pods = await readyPods(3)
    t.equal(injected(pods), 0, 'nobody got what the others lack')
    t.strictSame(
      uids(before).filter(uid => !uids(pods).includes(uid)),
      [],
      'and nobody was replaced'
    )
  })

  await t.test('when its pods are deleted, all of them come back with TLS', async t => {
    const former = await readyPods(3)
    await kubectl(['-n', namespace, 'delete', 'pods', '-l', 'ray.io/cluster=earlier'])
    const pods = await readyPods(3, uids(former))
    t.equal(injected(pods), 3, 'head and workers')
  })

  await t.test('Rayguard is removed, and pods start without it', async t => {
    const former = await readyPods(3)
    await remove()
    for (const kind of [
      'mutatingwebhookconfiguration',
      'validatingwebhookconfiguration',
      'validatingadmissionpolicy',
      'clusterrole'
    ]) {
      const left = await kubectl([
        'get',
        kind,
        '-o',
        'name',
        '-l',
        'app.kubernetes.io/name=rayguard'
      ])
      t.equal(left.trim(), '', `no ${kind} is left`)
    }
    t.strictSame(uids(await readyPods(3)), uids(former), 'what ran goes on')
    await kubectl(['-n', namespace, 'delete', 'pods', '-l', 'ray.io/cluster=earlier'])
    const pods = await readyPods(3, uids(former))
    t.equal(injected(pods), 0, 'new pods are as KubeRay makes them')
  })
})
