/** The CA that signs pods is replaced, step by step as docs/ca-rotation.md says, under real Ray: a job runs all the while. */
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { apply, eventually } from '../support/cluster.ts'
import { heldBy } from '../support/cluster-idle.ts'
import { forSmallNode, install, remove, withSettings } from '../support/cluster-install.ts'
import { execute, kubectl, run } from '../support/cluster-kubectl.ts'
import { openReader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'
import { rayCluster, readyRayPods, runJob, scaled } from '../support/cluster-ray.ts'
import { nameOf, restart, rolledOut } from '../support/cluster-replicas.ts'
import { signedByNone } from '../support/cluster-serving.ts'

const page = 'ca-rotation.md'

part('rotation-ray', async (t, { api, namespace: makeNamespace }) => {
  await remove()
  await install(t, t.testdir(), yaml => withSettings(forSmallNode(yaml), { trust: 'shared' }))
  const namespace = await makeNamespace('rotation-ray', {
    'pod-security.kubernetes.io/enforce': 'restricted'
  })
  const reader = openReader(t)
  const trusted = async (pod: string) => {
    const { stdout } = await execute(namespace, pod, 'cat', '/etc/rayguard/tls/ca.crt')
    return stdout.match(/BEGIN CERTIFICATE/g)?.length
  }
  const signerOf = async (pod: string) => (await heldBy(api, namespace, pod)).anchorSha256
  const removePod = (pod: string) => kubectl(['-n', namespace, 'delete', 'pod', pod, '--wait=true'])
  const named = (pods: readonly Pod[]) => {
    const [head = ''] = pods.filter(isHead).map(nameOf)
    return { head, workers: pods.filter(pod => !isHead(pod)).map(nameOf) }
  }
  /** Replicas read the Secret when they start; the kubelet would bring it within two minutes. */
  const seenByReplicas = async () => {
    await restart('enrollment')
    await rolledOut('enrollment')
  }

  await apply(api, namespace, [rayCluster('demo', 1)])
  const began = named(await readyRayPods(api, namespace, 2))
  const former = await signerOf(began.head)

  await t.test('both are trusted: pods are made anew, one at a time', async t => {
    await reader.follow({ page, heading: 'The next CA' })
    await reader.follow({ page, heading: '1. Let pods trust both' })
    await seenByReplicas()
    t.match(await next(), { step: 'switch', ready: false }, 'nobody trusts the next one yet')

    await removePod(began.workers[0] ?? '')
    const mixed = named(
      await scaled(api, namespace, { name: 'demo', workers: 1, gone: began.workers })
    )
    t.strictSame(
      [await trusted(began.head), await trusted(mixed.workers[0] ?? '')],
      [1, 2],
      'a head that trusts the former one, a worker that trusts both'
    )
    const { output } = await runJob(namespace, began.head)
    t.match(output, /hosts: 2/, `both take part: ${output.slice(-300)}`)

    await removePod(began.head)
    await scaled(api, namespace, {
      ...{ name: 'demo', workers: 1 },
      gone: [began.head, ...began.workers]
    })
    await eventually('every pod trusts both', async () => (await next()).ready)
  })

  const before = named(await readyRayPods(api, namespace, 2))
  await t.test('the next one signs: a job that runs gets workers of it', async t => {
    const job = runJob(namespace, before.head, 3)
    await reader.follow({ page, heading: '2. Let the next one sign' })
    await seenByReplicas()
    await signedByNone(api, former)
    const { workers } = named(await scaled(api, namespace, { name: 'demo', workers: 2 }))
    const [added = ''] = workers.filter(name => !before.workers.includes(name))
    t.not(await signerOf(added), former, 'a new worker is signed by the next one')
    t.equal(await signerOf(before.head), former, 'the head goes on with the former one')
    const { output } = await job
    t.match(output, /hosts: 3/, `tasks run on all: ${output.slice(-300)}`)
    t.match(await next(), { step: 'finish', ready: false }, 'pods of the former one hold it up')
  })

  await t.test('the former one is forgotten when nobody holds it any more', async t => {
    const gone = [before.head, ...before.workers]
    for (const pod of [...before.workers, before.head]) await removePod(pod)
    const after = named(await scaled(api, namespace, { name: 'demo', workers: 2, gone }))
    await eventually('no pod holds the former one', async () => (await next()).ready)
    await reader.follow({ page, heading: '3. Forget the former one' })
    await seenByReplicas()
    const [replaced = ''] = after.workers
    await removePod(replaced)
    const { head, workers } = named(
      await scaled(api, namespace, { name: 'demo', workers: 2, gone: [replaced] })
    )
    const [last = ''] = workers.filter(name => !after.workers.includes(name))
    t.equal(head, after.head, 'nobody else was replaced')
    t.strictSame(
      [await trusted(head), await trusted(last)],
      [2, 1],
      'a head that trusts both, a worker that trusts the next one'
    )
    const { output } = await runJob(namespace, head, 3)
    t.match(output, /hosts: 3/, `all take part: ${output.slice(-300)}`)
  })
  await remove()
})

function isHead({ metadata }: KubernetesObject): boolean {
  return metadata.labels?.['ray.io/node-type'] === 'head'
}

/** What `rayguard ca status` says of the next step. */
async function next(): Promise<{ step?: string; ready?: boolean }> {
  const { stdout } = await run('node', ['dist/rayguard.js', 'ca', 'status', '-o', 'json'])
  return (JSON.parse(stdout) as { next?: { step?: string; ready?: boolean } }).next ?? {}
}
