/** What users notice of Rayguard's own changes and crashes while pods are created as fast as the machine can: nothing. */
import type { Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually, retried } from '../support/cluster.ts'
import { checkCreations, startCreations } from '../support/cluster-creations.ts'
import { heldBy, makeIdleCluster, makeIdleHead, makeIdleWorker } from '../support/cluster-idle.ts'
import { forSmallNode, install, remove } from '../support/cluster-install.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import {
  type Component,
  nameOf,
  readyReplicas,
  restart,
  rolledOut,
  systemNamespace,
  twoOfEach
} from '../support/cluster-replicas.ts'

/** An own cluster's processes can be killed; somebody else's not. */
const ownCluster = process.env.USE_EXISTING_CLUSTER !== 'true'
/** More of them make no more pods a second on two processors, and each pod waits longer. */
const connections = 8
/** Whoever speaks to a process when it is killed has no answer, and has to ask again. */
const crashes = [
  'a webhook deleted without grace',
  'a webhook killed',
  'the API server killed and started again'
]

part('availability', async (t, { api, namespace: makeNamespace }) => {
  await remove()
  await install(t, t.testdir(), forSmallNode)
  await twoOfEach(api)
  const namespace = await makeNamespace('busy', {
    'pod-security.kubernetes.io/enforce': 'restricted'
  })
  const cluster = await makeIdleCluster(api, namespace)
  await makeIdleHead(api, cluster)
  const creations = startCreations(api, namespace, { connections })
  t.teardown(creations.stop)
  const enrolled: string[] = []

  /** As fast as they can be created, and nothing else that needs a processor. */
  const during = async (name: string, happen: () => Promise<unknown>) => {
    await creations.phase(name)
    await happen()
  }

  /** Beside that, one pod after the other is really made and has to come to its certificate, at least one. */
  const enrollingDuring = async (name: string, happen: () => Promise<unknown>) => {
    await creations.phase(name)
    const happening = { over: false }
    const enrolling = (async () => {
      do await enrollOne()
      while (!happening.over)
    })()
    await happen().finally(() => {
      happening.over = true
    })
    await enrolling
  }

  /** Taken away at once, because a small node has room for few. */
  const enrollOne = async () => {
    const name = nameOf(await retried(() => makeIdleWorker(api, cluster)))
    const { serialNumber } = await retried(() => heldBy(api, namespace, name))
    enrolled.push(serialNumber)
    await retried(() => api.delete(`/api/v1/namespaces/${namespace}/pods/${name}`))
  }

  const renew = async (component: Component) => {
    const before = (await readyReplicas(api, component)).map(nameOf)
    await restart(component)
    await rolledOut(component)
    await twoOfEach(api, before)
  }

  const killPod = async (component: Component) => {
    const gone = await oneOf(api, component)
    const atOnce = ['--grace-period=0', '--force']
    await kubectl(['-n', systemNamespace, 'delete', 'pod', gone, ...atOnce])
    await twoOfEach(api, [gone])
  }

  const killProcess = async (component: Component) => {
    const crashed = await oneOf(api, component)
    await harness('crash', systemNamespace, crashed, 'rayguard')
    await eventually('the killed container runs again', async () => {
      const again = (await twoOfEach(api)).find(pod => nameOf(pod) === crashed)
      return again !== undefined && restartsOf(again) > 0
    })
  }

  await during('nothing', () => creations.reached(1000))
  await during('a rolling update of the webhook', () => renew('webhook'))
  await during('a webhook deleted without grace', () => killPod('webhook'))
  await enrollingDuring('a rolling update of the enrollment server', () => renew('enrollment'))
  await enrollingDuring('an enrollment server deleted without grace', () => killPod('enrollment'))
  if (ownCluster) {
    await during('a webhook killed', () => killProcess('webhook'))
    await enrollingDuring('an enrollment server killed', () => killProcess('enrollment'))
    await enrollingDuring('the API server killed and started again', async () => {
      await harness('restart', 'kube-apiserver')
      await retried(() => twoOfEach(api))
    })
  }

  await checkCreations(t, creations, { mayFail: crashes })
  const count = enrolled.length
  t.equal(new Set(enrolled).size, count, `${count} pods enrolled, each with its own certificate`)
  await remove()
})

async function oneOf(api: ClusterApi, component: Component): Promise<string> {
  const [pod] = await readyReplicas(api, component)
  return nameOf(pod as Pod)
}

function restartsOf({ status }: Pod): number {
  const [container] = (status?.containerStatuses ?? []) as { restartCount?: number }[]
  return container?.restartCount ?? 0
}

async function harness(...command: string[]): Promise<void> {
  const { code, stderr } = await run('test/cluster/cluster', command)
  if (code !== 0) throw new Error(`cluster ${command.join(' ')}: ${stderr}`)
}
