/** From the version before this one, and back to it, under running Ray clusters: what runs goes on, what comes joins it. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { enrollContainer } from '../../src/contract/pod.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { apply, type ClusterApi, retried } from '../support/cluster.ts'
import { before, installBefore, now, rollBack, upgrade } from '../support/cluster-before.ts'
import { checkCreations, startCreations } from '../support/cluster-creations.ts'
import { heldBy, makeIdleCluster, makeIdleWorker } from '../support/cluster-idle.ts'
import { remove } from '../support/cluster-install.ts'
import { run } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import { rayCluster, readyRayPods } from '../support/cluster-ray.ts'
import { nameOf } from '../support/cluster-replicas.ts'

const lacking = before.folder === undefined && 'the version before this one is not at hand'
const uidOf = ({ metadata }: Pod) => metadata.uid

part(
  'upgrade',
  async (t, { api, namespace }) => {
    await remove()
    const certificates = join(t.testdir(), 'certificates')
    await installBefore(certificates)
    const team = await namespace('earlier-team', {
      'pod-security.kubernetes.io/enforce': 'restricted',
      'rayguard.dev/tls': 'required'
    })
    const idle = await namespace('earlier-idle', {
      'pod-security.kubernetes.io/enforce': 'restricted'
    })
    await apply(api, team, [rayCluster('earlier', 1)])
    const idleCluster = await makeIdleCluster(api, idle)
    const waiting = nameOf(await retried(() => makeIdleWorker(api, idleCluster)))
    let held = await heldBy(api, idle, waiting)
    let pods = await readyRayPods(api, team, 2)
    t.strictSame(imagesOf(pods), [before.image], 'a cluster of the version before runs')

    const creations = startCreations(api, idle, { connections: 1 })
    t.teardown(creations.stop)

    /** The next version has come, whichever it is. */
    const goesOn = async (t: Test, image: string) => {
      const stored = await api.get<Pod>(`/api/v1/namespaces/${idle}/pods/${waiting}`)
      await acceptsAgain(t, api, stored, image)

      const crashed = await run('test/cluster/cluster', ['crash', idle, waiting])
      t.equal(crashed.code, 0, `the sandbox of a pod of the version before ends ${crashed.stderr}`)
      const { serialNumber } = held
      held = await heldBy(api, idle, waiting, anew => anew.serialNumber !== serialNumber)
      t.pass('and the pod enrolls again, with the CA that it has known from the beginning')

      await scale(api, team, pods.length)
      const more = await readyRayPods(api, team, pods.length + 1)
      const stayed = new Set(more.map(uidOf))
      t.ok(
        pods.every(pod => stayed.has(uidOf(pod))),
        'all pods that ran go on'
      )
      const added = more.filter(pod => !pods.some(each => uidOf(each) === uidOf(pod)))
      t.strictSame(imagesOf(added), [image], 'and a new worker has joined them')
      pods = more
    }

    await t.test('the upgrade', async t => {
      await creations.phase('upgrade')
      await upgrade(certificates)
      await creations.phase('upgraded')
      await goesOn(t, now.image)
    })

    await t.test('the rollback', async t => {
      await creations.phase('rollback')
      await rollBack(certificates)
      await creations.phase('rolled back')
      await goesOn(t, before.image)
    })

    // the version before has one replica, and its certificates another CA
    await checkCreations(t, creations, { mayFail: ['upgrade', 'rollback', 'rolled back'] })
    await remove()
  },
  lacking
)

/** Another webhook may hand a pod back that the other version has injected: its names are reserved, and brought to our shape. */
async function acceptsAgain(t: Test, api: ClusterApi, pod: Pod, image: string): Promise<void> {
  const { labels, annotations, ownerReferences } = pod.metadata
  const { nodeName: _, ...spec } = pod.spec
  const path = `/api/v1/namespaces/${pod.metadata.namespace}/pods?dryRun=All`
  const metadata = { generateName: 'again-', labels, annotations, ownerReferences }
  const admitted = await retried(() => api.create<Pod>(path, { metadata, spec }))
  const agents = admitted.spec.initContainers?.filter(({ name }) => name === enrollContainer)
  t.match(agents, [{ image }], 'a pod of the other version is accepted, and gets this image')
  t.equal(agents?.length, 1, 'once')
}

async function scale(api: ClusterApi, namespace: string, workers: number): Promise<void> {
  const { spec } = rayCluster('earlier', workers) as { spec: { workerGroupSpecs?: object } }
  await api.patch(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/earlier`, {
    spec: { workerGroupSpecs: spec.workerGroupSpecs }
  })
}

function imagesOf(pods: Pod[]): (string | undefined)[] {
  const agents = pods.map(({ spec }) =>
    spec.initContainers?.find(({ name }) => name === enrollContainer)
  )
  return [...new Set(agents.map(agent => agent?.image))]
}
