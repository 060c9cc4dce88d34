/** What comes of Ray resources; test/api holds it against the real operator. */
import { Readable } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { stringify } from 'yaml'
import { command } from '../../src/cli/dry-run.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { dryRun } from '../../src/preview/dry-run.ts'
import { injectionSettings } from '../support/builders.ts'

const options = { settings: injectionSettings(), clusterDomain: 'cluster.local' }
const ray = (more: object = {}) => ({ name: 'ray', image: 'rayproject/ray:2.58.0', ...more })
const group = (groupName: string, more: object = {}) => ({
  groupName,
  template: { spec: { containers: [ray(more)] } }
})
const clusterSpec = (more: object = {}) => ({
  headGroupSpec: { template: { spec: { containers: [ray()] } } },
  workerGroupSpecs: [group('small')],
  ...more
})
const resource = (kind: string, spec: object, metadata: object = { name: 'demo' }) => ({
  apiVersion: 'ray.io/v1',
  kind,
  metadata,
  spec
})

function resultsOf(...values: unknown[]) {
  const run = dryRun(values.map(value => JSON.stringify(value)).join('\n'), options)
  if ('problem' in run) throw new Error(run.problem.message)
  return run.results.map((result, index) => ({
    ...result,
    pod: result.pod as Pod,
    submitted: run.submitted[index] as Pod
  }))
}

const tlsContainers = ({ spec }: Pod) =>
  [...(spec.initContainers ?? []), ...spec.containers]
    .filter(({ env }) => env?.some(({ name }) => name === 'RAY_USE_TLS'))
    .map(({ name }) => name)

t.test('a RayCluster: head with autoscaler, and a pod for each worker group', async t => {
  const results = resultsOf(
    resource(
      'RayCluster',
      clusterSpec({
        enableInTreeAutoscaling: true,
        autoscalerOptions: { version: 'v2', image: 'own:1', securityContext: { runAsUser: 7 } },
        workerGroupSpecs: [group('small'), group('large', { env: [{ name: 'A', value: 'b' }] })]
      }),
      { name: 'demo', namespace: 'team', uid: 'u' }
    )
  )
  t.strictSame(
    results.map(({ source }) => source),
    ['head', 'worker group small', 'worker group large'].map(
      role => `document 1, RayCluster demo, ${role}`
    ),
    'each with its place'
  )
  const [head, , large] = results
  t.match(
    head?.submitted,
    {
      metadata: {
        namespace: 'team',
        generateName: 'demo-head-',
        labels: {
          'ray.io/cluster': 'demo',
          'ray.io/node-type': 'head',
          'ray.io/group': 'headgroup'
        },
        ownerReferences: [{ kind: 'RayCluster', name: 'demo', uid: 'u', controller: true }]
      },
      spec: {
        restartPolicy: 'Never',
        serviceAccountName: 'demo',
        containers: [{ name: 'ray' }, { name: 'autoscaler', image: 'own:1' }],
        volumes: [{ name: 'shared-mem' }, { name: 'ray-logs' }]
      }
    },
    'the head as KubeRay makes it'
  )
  t.strictSame(
    head?.submitted.spec.containers[1]?.securityContext,
    { runAsUser: 7 },
    'the user’s choice for the autoscaler'
  )
  t.strictSame(tlsContainers(head?.pod as Pod), ['ray', 'autoscaler'], 'both speak TLS')
  t.strictSame(
    head?.certificate?.dnsNames,
    ['localhost', 'demo-head-svc.team.svc.cluster.local'],
    'the name of the head service is known'
  )
  t.strictSame(tlsContainers(large?.pod as Pod), ['wait-gcs-ready', 'ray'], 'a worker waits by TLS')
  const wait = large?.submitted.spec.initContainers?.[0]
  t.match(wait?.env, [{ name: 'A' }, { name: 'FQ_RAY_IP' }], 'with the Ray container’s variables')
  t.equal(
    large?.submitted.spec.containers[0]?.env?.find(({ name }) => name === 'FQ_RAY_IP')?.value,
    'demo-head-svc.team.svc.cluster.local',
    'and knows its head'
  )
})

t.test('labels of a template come through, but not those that KubeRay sets', async t => {
  const spec = clusterSpec()
  const labels = { 'ray.io/cluster': 'other', 'ray.io/node-type': 'worker', team: 'a' }
  Object.assign(spec.headGroupSpec.template, { metadata: { labels } })
  t.match(resultsOf(resource('RayCluster', spec))[0]?.submitted.metadata.labels, {
    'ray.io/cluster': 'demo',
    'ray.io/node-type': 'head',
    team: 'a'
  })
})

t.test('a RayJob in each mode', async t => {
  const rolesOf = (spec: object) =>
    resultsOf(resource('RayJob', spec)).map(
      ({ source, node }) => `${source.split(', ')[2]}: ${node}`
    )
  const rayClusterSpec = clusterSpec()
  const cluster = ['head: head', 'worker group small: worker']
  t.strictSame(rolesOf({ rayClusterSpec }), [...cluster, 'submitter: submitter'], 'by default')
  for (const submissionMode of ['HTTPMode', 'InteractiveMode', 'SidecarMode'])
    t.strictSame(rolesOf({ rayClusterSpec, submissionMode }), cluster, submissionMode)
  const [head] = resultsOf(resource('RayJob', { rayClusterSpec, submissionMode: 'SidecarMode' }))
  t.strictSame(
    head?.submitted.spec.containers.map(({ name }) => name),
    ['ray', 'ray-job-submitter'],
    'in SidecarMode the head submits'
  )
  t.strictSame(tlsContainers(head?.pod as Pod), ['ray'], 'over HTTP')
  t.strictSame(
    head?.certificate?.dnsNames.slice(1),
    ['demo-xxxxx-head-svc.default.svc.cluster.local', 'demo-head-svc.default.svc.cluster.local'],
    'the stable name, too'
  )
  t.strictSame(rolesOf({ clusterSelector: { 'ray.io/cluster': 'its' } }), ['submitter: submitter'])
  const submitterPodTemplate = { spec: { containers: [{ name: 'mine', image: 'own:1' }] } }
  const own = resultsOf(resource('RayJob', { rayClusterSpec, submitterPodTemplate }))[2]
  t.match(own?.submitted.spec.containers, [{ name: 'mine' }], 'a template of the user’s')
  t.equal(own?.node, 'submitter', 'is known by its variable')
})

t.test('a RayService and a RayCronJob', async t => {
  const [service] = resultsOf(resource('RayService', { rayClusterConfig: clusterSpec() }))
  t.strictSame(service?.certificate?.dnsNames.slice(1), [
    'demo-xxxxx-head-svc.default.svc.cluster.local',
    'demo-head-svc.default.svc.cluster.local'
  ])
  const cron = resultsOf(resource('RayCronJob', { jobTemplate: { rayClusterSpec: clusterSpec() } }))
  t.equal(cron.length, 3, 'the pods of its RayJob')
  t.equal(cron[0]?.submitted.metadata.labels?.['ray.io/cluster'], 'demo-xxxxx-xxxxx')
})

t.test('Pod Security before and after', async t => {
  const [head, worker] = resultsOf(
    resource(
      'RayCluster',
      clusterSpec({ workerGroupSpecs: [group('root', { securityContext: { runAsUser: 0 } })] })
    )
  )
  t.ok((head?.podSecurity?.before.length ?? 0) > 0, 'an ordinary head violates restricted')
  t.strictSame(head?.podSecurity?.after, [], 'and complies afterwards')
  t.match(
    worker?.podSecurity?.after?.find(({ id }) => id === 'runAsUser'),
    { reason: 'runAsUser=0', detail: /"ray" must not set/ },
    'what was asked for remains'
  )
  t.equal(
    resultsOf({ apiVersion: 'v1', kind: 'Pod', metadata: {}, spec: {} })[0]?.podSecurity,
    undefined,
    'a pod of an odd shape is not judged'
  )
})

t.test('lists, and names that are none', async t => {
  const cluster = resource('RayCluster', clusterSpec())
  const list = { apiVersion: 'v1', kind: 'List', items: [cluster] }
  t.equal(resultsOf(list)[1]?.source, 'document 1, item 1, RayCluster demo, worker group small')
  const { apiVersion, kind, ...bare } = cluster
  t.equal(resultsOf({ apiVersion, kind: `${kind}List`, items: [bare] }).length, 2, 'of one kind')
  const hostile = resource('RayCluster', clusterSpec(), { name: 'a\n---\nkind: Secret' })
  t.notMatch(resultsOf(hostile)[0]?.source, /\n/, 'a name stays within its line')
  const drawn = resource('RayCluster', clusterSpec(), { generateName: 'demo-' })
  t.match(resultsOf(drawn)[0]?.source, /RayCluster demo-xxxxx, head/, 'a name to be drawn')
})

t.test('what KubeRay could not take is named with its place', async t => {
  const head = (template: unknown) => clusterSpec({ headGroupSpec: { template } })
  const rows: [unknown, RegExp][] = [
    [{ apiVersion: 'ray.io/v1', kind: 'RayCluster' }, /RayCluster: metadata must be an object/],
    [resource('RayCluster', clusterSpec(), {}), /metadata\.name must be a name, found nothing/],
    [{ ...resource('RayCluster', {}), spec: null }, /spec must be an object, found null/],
    [resource('RayCluster', {}), /spec\.headGroupSpec must be an object, found nothing/],
    [resource('RayCluster', head(1)), /spec\.headGroupSpec\.template must be an object, found 1/],
    [
      resource('RayCluster', head({ spec: { containers: [] } })),
      /template\.spec\.containers must be a list with the Ray container, found an empty list/
    ],
    [
      resource('RayCluster', head({ spec: { containers: [{}] } })),
      /containers\[0\] must be a container with a name, found an object/
    ],
    [
      resource('RayCluster', clusterSpec({ workerGroupSpecs: {} })),
      /spec\.workerGroupSpecs must be a list, found an object/
    ],
    [
      resource('RayCluster', clusterSpec({ workerGroupSpecs: [{ groupName: '' }] })),
      /spec\.workerGroupSpecs\[0\]\.groupName must be a name, found ""/
    ],
    [resource('RayJob', {}), /RayJob: spec\.rayClusterSpec must be/],
    [
      resource('RayJob', { rayClusterSpec: clusterSpec(), submissionMode: 'Sidecar' }),
      /spec\.submissionMode must be K8sJobMode, SidecarMode, .*, found "Sidecar"/
    ],
    [resource('RayService', {}), /RayService: spec\.rayClusterConfig must be/],
    [resource('RayCronJob', {}), /RayCronJob: spec\.jobTemplate must be/],
    [
      { ...resource('RayCluster', {}), apiVersion: 'v1' },
      /ray\.io resource.* was expected, found "v1"/
    ]
  ]
  for (const [value, wanted] of rows)
    t.throws(() => resultsOf(value), { message: wanted }, String(wanted))
})

t.test('members that are no lists are refused as part of the pod, and nothing throws', async t => {
  for (const odd of [1, 'x', {}, null, [null], [1]]) {
    for (const key of ['env', 'volumeMounts', 'initContainers', 'volumes', 'securityContext']) {
      const inPod = key === 'initContainers' || key === 'volumes'
      const container = inPod ? ray() : ray({ [key]: odd })
      const template = { spec: { containers: [container], ...(inPod ? { [key]: odd } : {}) } }
      const spec = clusterSpec({ headGroupSpec: { template }, enableInTreeAutoscaling: true })
      const [result] = resultsOf(resource('RayCluster', spec))
      t.equal(typeof result?.allowed, 'boolean', `${key}: ${JSON.stringify(odd)}`)
    }
  }
})

t.test('the command prints diffs and pods', async t => {
  const run = async (list: string[], text: string, isTTY = false, environment = {}) => {
    const output = { stdout: '', stderr: '' }
    const code = await command.run(list, {
      stdin: Readable.from([Buffer.from(text)]),
      stdout: { isTTY, write: chunk => (output.stdout += chunk) },
      stderr: { write: chunk => (output.stderr += chunk) },
      environment,
      signal: new AbortController().signal
    })
    return { code, ...output }
  }
  const text = stringify(resource('RayCluster', clusterSpec()))
  const plain = await run(['-f', '-', '-o', 'diff'], text)
  t.equal(plain.code, 0)
  t.match(plain.stdout, /^--- document 1, RayCluster demo, head as KubeRay made it$/m)
  t.match(plain.stdout, /^\+ +- name: rayguard-enroll$/m)
  t.equal(stripVTControlCharacters(plain.stdout), plain.stdout, 'no colours in a file')
  const coloured = await run(['-f', '-', '-o', 'diff'], text, true)
  t.ok(coloured.stdout.includes('\u001b[32m+'), 'colours on a terminal')
  t.equal(stripVTControlCharacters(coloured.stdout), plain.stdout, 'the same text')
  const without = await run(['-f', '-', '-o', 'diff'], text, true, { NO_COLOR: '1' })
  t.equal(without.stdout, plain.stdout, 'unless NO_COLOR is set')

  const yaml = await run(['-f', '-', '-o', 'yaml'], text)
  const again = await run(['-f', '-', '-o', 'patch'], yaml.stdout)
  t.equal(again.stdout, '[]\n[]\n', 'the pods that it prints are patched no further')

  const refused = stringify(
    resource(
      'RayCluster',
      clusterSpec({
        headGroupSpec: { template: { spec: { hostNetwork: true, containers: [ray()] } } }
      })
    )
  )
  const half = await run(['-f', '-', '-o', 'yaml'], refused)
  t.match(
    half,
    { code: 1, stderr: /RayCluster demo, head: HostNetwork/ },
    'a refusal is said beside'
  )
  t.notMatch(half.stdout, /demo, head/, 'and its pod is not shown')

  const other = 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: code }\n'
  t.match(
    await run(['-f', '-', '-o', 'patch'], `${other}---\n${text}`),
    {
      code: 0,
      stdout: /rayguard-enroll/,
      stderr: /document 1, line 1, column 1: "v1" "ConfigMap"/
    },
    'an object beside it is passed over, and said'
  )
  t.match(await run(['-f', '-'], other), { code: 2, stdout: '' }, 'nothing else is an error')
  const misspelt = text.replace('RayCluster', 'RayClsuter')
  t.match(await run(['-f', '-'], misspelt), { code: 2, stderr: /"RayClsuter"/ }, 'a typing error')
})
