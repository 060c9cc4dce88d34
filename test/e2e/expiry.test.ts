/** On a real node: a worker whose certificate nears its end gives way to one with a new certificate, and Ray goes on. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { apply, eventually } from '../support/cluster.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'
import { forSmallNode, image, install, remove } from '../support/cluster-install.ts'
import { execute, kubectl, run } from '../support/cluster-kubectl.ts'
import { toInput } from '../support/cluster-manifest.ts'
import { part } from '../support/cluster-part.ts'
import { rayCluster } from '../support/cluster-ray.ts'
import { isReady } from '../support/cluster-replicas.ts'

const label = 'rayguard.dev/certificate-lifetime'
const minuteMs = 60_000
const withSettings = (yaml: string) =>
  forSmallNode(yaml)
    .replace(/^ {4}enrollment:\n/m, '$&      namespaceLifetime: { shortest: 5m }\n')
    .replace(/^ {4}trust: /m, '    replacement: { interval: 5s }\n$&')

/** Runs on every worker; says which pods those were. */
const script = `
import os, ray, time
ray.init(logging_level='ERROR')
@ray.remote(num_cpus=1)
def where():
    time.sleep(0.5)
    return os.environ['RAY_CLOUD_INSTANCE_ID']
print('ran on', sorted(set(ray.get([where.remote() for _ in range(20)]))))
`

part(
  'expiry',
  async (t, { api, namespace: makeNamespace }) => {
    await remove()
    const component = renderChart('replacement.enabled=true', 'replacement.replicas=1').filter(
      ({ metadata }) => metadata.name === 'rayguard-replacement'
    )
    const objects = toInput(component).replaceAll('registry.example/rayguard:0.1.0', image)
    t.teardown(() => kubectl(['delete', '--ignore-not-found', '-f', '-'], objects))
    await install(t, t.testdir(), withSettings)
    await kubectl(['apply', '-f', '-'], objects)

    const namespace = await makeNamespace('short')
    const namespacePath = `/api/v1/namespaces/${namespace}`
    const setLifetime = async (lifetime: string) => {
      await api.patch(namespacePath, { metadata: { labels: { [label]: lifetime } } })
      // for five seconds the server may still know the former one
      await sleep(6_000)
    }
    const podWith = (what: string, is: (pod: Pod) => boolean) =>
      eventually(
        what,
        async () => (await api.list<Pod>(`${namespacePath}/pods`)).find(is),
        5 * minuteMs
      )
    const { spec } = rayCluster('short', 1)
    const { workerGroupSpecs } = spec as { workerGroupSpecs: object[] }
    const scaled = (count: number) => ({
      workerGroupSpecs: workerGroupSpecs.map(group => ({
        ...group,
        ...{ replicas: count, minReplicas: count, maxReplicas: Math.max(count, 1) }
      }))
    })
    // the head outlives the test, the worker does not
    await setLifetime('30d')
    await apply(api, namespace, [
      { ...rayCluster('short', 1), spec: { ...spec, ...scaled(0) } } as never
    ])
    const head = await podWith('a head with a certificate', pod => minutesLeft(pod) > 60)
    await setLifetime('5m')
    await api.patch(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/short`, {
      spec: scaled(1)
    })
    const former = await podWith('a worker with a short certificate', pod => minutesLeft(pod) < 6)
    await setLifetime('30d')

    await t.test('it is replaced before its certificate ends', async t => {
      const next = await podWith(
        'another worker is ready',
        pod => isReady(pod) && isWorker(pod) && uid(pod) !== uid(former)
      )
      t.ok(minutesLeft(former) > 0, `${minutesLeft(former).toFixed(1)} minutes before the end`)
      t.ok(minutesLeft(next) > 60, 'by one whose certificate lasts')
      const pods = await api.list<Pod>(`${namespacePath}/pods`)
      t.strictSame(pods.map(uid).sort(), [uid(head), uid(next)].sort(), 'the head stays')
      const ran = await execute(namespace, head.metadata.name ?? '', 'python3', '-c', script)
      t.match(ran.stdout, `'${next.metadata.name}'`, `Ray goes on: ${ran.stdout} ${ran.stderr}`)
      const told = await kubectl(['-n', namespace, 'describe', 'raycluster', 'short'])
      t.match(told, new RegExp(`PodReplaced.*${former.metadata.name}`), 'and people are told')
    })
    await t.test('rayguard status knows of the component', async t => {
      const { stdout } = await run('node', ['dist/rayguard.js', 'status'])
      t.match(stdout, /✓ 1 replica of rayguard-replacement ready\./)
      t.match(stdout, /✓ rayguard-replacement has the rights that it needs\./)
    })
    await remove()
  },
  skipWithoutHelm
)

const uid = ({ metadata }: Pod) => metadata.uid
const isWorker = ({ metadata }: Pod) => metadata.labels?.['ray.io/node-type'] === 'worker'

/** Of its certificate, as its agent said; NaN where it has said nothing. */
function minutesLeft({ status }: Pod): number {
  const enroll = status?.initContainerStatuses?.find(({ name }) => name === 'rayguard-enroll')
  const { message = '{}' } = enroll?.state?.terminated ?? {}
  return (Date.parse(JSON.parse(message).notAfter) - Date.now()) / minuteMs
}
