/** Installed by Helm, upgraded and removed, as a platform team does it that has never seen Rayguard. */
import { join } from 'node:path'
import type { Test } from 'tap'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { apply, type ClusterApi, eventually } from '../support/cluster.ts'
import { checkInjected } from '../support/cluster-checks.ts'
import { remove } from '../support/cluster-install.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import { components, isReady, systemNamespace, twoOfEach } from '../support/cluster-replicas.ts'
import { clusterSpec } from '../support/cluster-workloads.ts'
import { foundProgram } from '../support/found-program.ts'

const helm = foundProgram('helm')
const lacking = helm === undefined && 'helm is not installed: test/cluster/build helm builds one'
const image = process.env.RAYGUARD_TEST_IMAGE ?? 'localhost/rayguard:test'
const limitMs = 300_000

part(
  'chart',
  async (t, { api, namespace: makeNamespace }) => {
    await remove()
    const certificates = join(t.testdir(), 'certificates')
    const made = await run('node', ['dist/rayguard.js', 'ca', 'init', '--directory', certificates])
    t.equal(made.code, 0, made.stderr)

    await t.test('helm install, by the commands of the docs', async t => {
      await kubectl(['create', 'namespace', systemNamespace])
      const enforce = 'pod-security.kubernetes.io/enforce=restricted'
      await kubectl(['label', 'namespace', systemNamespace, enforce])
      const files = ['--cert', join(certificates, 'ca.crt'), '--key', join(certificates, 'ca.key')]
      const secret = ['create', 'secret', 'tls', 'rayguard-ca', ...files]
      await kubectl(['-n', systemNamespace, ...secret])
      await chart(t, 'install')
      await twoOfEach(api)
    })

    const namespace = await makeNamespace('by-helm', {
      'pod-security.kubernetes.io/enforce': 'restricted'
    })
    const workers = { least: 1, most: 1 }
    await apply(api, namespace, [
      {
        apiVersion: 'ray.io/v1',
        kind: 'RayCluster',
        metadata: { name: 'demo' },
        spec: clusterSpec({ workers })
      } as KubernetesObject
    ])
    const pods = await readyPods(api, namespace)
    for (const pod of pods) checkInjected(t, pod)

    await t.test('rayguard status finds nothing wrong', async t => {
      const { code, stdout } = await run('node', ['dist/rayguard.js', 'status', '-o', 'json'])
      const { checks } = JSON.parse(stdout) as {
        checks: { id: string; state: string; text: string }[]
      }
      t.strictSame(
        checks.filter(({ state }) => state === 'failed'),
        [],
        'no check fails'
      )
      t.equal(code, 0)
    })

    await t.test('helm upgrade keeps what the webhook has written', async t => {
      const before = await caBundles()
      t.equal(before.length, 3)
      await chart(t, 'upgrade', '--set', 'registration.timeoutSeconds=7')
      await twoOfEach(api)
      t.strictSame(await caBundles(), before)
      await kubectl(['-n', namespace, 'delete', 'pods', '-l', 'ray.io/node-type=worker'])
      const gone = pods.map(({ metadata }) => metadata.uid ?? '')
      const [worker] = await readyPods(api, namespace, 1, gone)
      if (worker) checkInjected(t, worker)
    })

    await t.test('helm uninstall leaves nothing but what the docs say', async t => {
      const running = (await readyPods(api, namespace)).map(({ metadata }) => metadata.uid ?? '')
      const { code, stderr } = await run(helm ?? '', [
        ...['uninstall', 'rayguard', '--namespace', systemNamespace, '--wait', '--timeout', '120s']
      ])
      t.equal(code, 0, stderr)
      t.strictSame(await ours(), [], 'nothing in the cluster is ours')
      const left = await kubectl(['-n', systemNamespace, 'get', 'secrets,configmaps', '-o', 'name'])
      t.strictSame(
        left
          .trim()
          .split('\n')
          .filter(name => name !== 'configmap/kube-root-ca.crt')
          .filter(name => !/^secret\/rayguard-clusters-[0-9a-f]$/.test(name))
          .sort(),
        [
          'configmap/rayguard-enrollment-ca',
          'secret/rayguard-ca',
          'secret/rayguard-clusters',
          ...components.map(component => `secret/rayguard-${component}-serving`).sort()
        ],
        'the Secrets with keys and a ConfigMap'
      )
      t.strictSame(
        (await readyPods(api, namespace)).map(({ metadata }) => metadata.uid ?? '').sort(),
        running.sort(),
        'what runs goes on'
      )
      await api.patch(`/api/v1/namespaces/${namespace}`, {
        metadata: { labels: { 'pod-security.kubernetes.io/enforce': null } }
      })
      await kubectl(['-n', namespace, 'delete', 'pods', '-l', 'ray.io/cluster=demo'])
      for (const pod of await readyPods(api, namespace, 2, running))
        t.notOk(
          pod.spec.initContainers?.some(({ name }) => name === 'rayguard-enroll'),
          'new pods are as KubeRay makes them'
        )
    })
    await api.delete(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/demo`)
    await api.delete(`/api/v1/namespaces/${systemNamespace}`)
    await eventually(
      'the namespace is gone',
      async () => (await api.find(`/api/v1/namespaces/${systemNamespace}`)) === undefined
    )
  },
  lacking
)

/** On a node with two processors three replicas must find room while they are renewed. */
async function chart(t: Test, command: 'install' | 'upgrade', ...more: string[]): Promise<void> {
  const [, repository = '', tag = ''] = /^(.+):([^:/]+)$/.exec(image) ?? []
  const values = [
    ...[`image.repository=${repository}`, `image.tag=${tag}`],
    ...components.map(component => `${component}.resources.requests.cpu=20m`),
    'settings.injection.resources.cpu=100m'
  ].flatMap(value => ['--set', value])
  const where = ['rayguard', 'manifests/chart', '--namespace', systemNamespace]
  const { code, stderr } = await run(helm ?? '', [
    ...[command, ...where, ...values, ...more, '--wait', '--timeout', '180s']
  ])
  t.equal(code, 0, `helm ${command}: ${stderr}`)
}

async function caBundles(): Promise<string[]> {
  const kinds = ['mutatingwebhookconfiguration', 'validatingwebhookconfiguration']
  const names = kinds.map(kind => `${kind}/rayguard`)
  const { items } = JSON.parse(await kubectl(['get', ...names, '-o', 'json'])) as {
    items: { webhooks: { clientConfig: { caBundle: string } }[] }[]
  }
  return items.flatMap(({ webhooks }) => webhooks.map(({ clientConfig }) => clientConfig.caBundle))
}

/** Objects without a namespace that carry our label. */
async function ours(): Promise<string[]> {
  const kinds = [
    ...['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'],
    ...['validatingadmissionpolicies', 'validatingadmissionpolicybindings'],
    ...['clusterroles', 'clusterrolebindings', 'priorityclasses']
  ].join(',')
  const label = 'app.kubernetes.io/name=rayguard'
  const text = await kubectl(['get', kinds, '-l', label, '-o', 'name'])
  return text.split('\n').filter(line => line !== '')
}

function readyPods(
  api: ClusterApi,
  namespace: string,
  count = 2,
  gone: readonly string[] = []
): Promise<Pod[]> {
  return eventually(
    `${count} ready pods`,
    async () => {
      const pods = await api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
      const ready = pods.filter(pod => isReady(pod) && !gone.includes(pod.metadata.uid ?? ''))
      return ready.length === count && ready
    },
    limitMs
  )
}
