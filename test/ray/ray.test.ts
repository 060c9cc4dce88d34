import t from 'tap'
import type { Pod, RayCluster } from '../../src/kubernetes/objects.ts'
import { classify } from '../../src/ray/classify.ts'
import { rayContainers } from '../../src/ray/containers.ts'
import { headServiceCandidates, headServiceNames, serviceFqdn } from '../../src/ray/head-service.ts'
import { placeInResource } from '../../src/ray/places.ts'
import { hasCompleteTls, tlsVariables } from '../../src/ray/tls-variables.ts'
import {
  autoscaler,
  headPod,
  redisCleanupPod,
  submitterPod,
  workerPod
} from '../support/builders.ts'
import { enrolledPods, foreignTlsPods, jobPods } from '../support/kuberay-pods.ts'

const container = [{ name: 'a' }]

function podWith(labels: Record<string, string> | null): Pod {
  return { metadata: { labels }, spec: { containers: container } }
}

t.test('each pod of KubeRay is told by its labels and variables', async t => {
  for (const [name, pod] of Object.entries({ ...enrolledPods, ...foreignTlsPods })) {
    t.equal(classify(pod).kind, name.startsWith('head') ? 'head' : 'worker', name)
  }
  for (const [name, pod] of Object.entries(jobPods)) {
    t.equal(classify(pod).kind, name.startsWith('sub') ? 'submitter' : 'redis-cleanup', name)
  }
  t.match(classify(workerPod()), { clusterName: 'demo', groupName: 'small' }, 'cluster and group')
  t.equal(classify(podWith(null)).kind, 'none', 'no labels')
  t.equal(
    classify(submitterPod({ ray: { env: null } })).kind,
    'none',
    'any other Job’s pod is none of Ray’s'
  )
  t.equal(
    classify(podWith({ 'ray.io/originated-from-crd': 'RayCluster' })).kind,
    'none',
    'nor what a RayCluster made'
  )
})

t.test('attack 39: hostile labels find nothing on a prototype', async t => {
  for (const key of ['__proto__', 'constructor', 'toString', '', '~', '/', 'a/b~1']) {
    const labels = Object.fromEntries([[key, 'head']])
    t.equal(classify(podWith(labels)).kind, 'none', JSON.stringify(key))
  }
  const inherited = Object.create({ 'ray.io/cluster': 'x', 'ray.io/node-type': 'head' })
  t.equal(classify(podWith(inherited)).kind, 'none', 'inherited members are not labels')
})

t.test('labels that nearly make a Ray pod are said', async t => {
  const long = 'x'.repeat(200)
  for (const labels of [
    { 'ray.io/cluster': 'demo' },
    { 'ray.io/cluster': 'demo', 'ray.io/node-type': 'Head' },
    { 'ray.io/cluster': 'demo', 'ray.io/node-type': long },
    { 'ray.io/node-type': 'head' },
    { 'ray.io/cluster': '', 'ray.io/node-type': 'head' },
    { 'ray.io/cluster': '' }
  ]) {
    const ray = classify(podWith(labels))
    t.match(ray, { kind: 'none', looksLikeRay: true }, JSON.stringify(labels).slice(0, 80))
    t.notOk(ray.reason?.includes(long), 'briefly')
  }
})

t.test('the containers that speak gRPC', async t => {
  const head = headPod()
  head.spec.containers.push(autoscaler(), { name: 'logs' })
  t.strictSame(rayContainers(head, 'head'), ['ray-head', 'autoscaler'], 'head')
  t.strictSame(rayContainers(workerPod(), 'worker'), ['ray-worker', 'wait-gcs-ready'], 'worker')
  t.strictSame(rayContainers(head, 'worker'), ['ray-head'], 'a worker has no autoscaler')
  t.strictSame(rayContainers(workerPod(), 'head'), ['ray-worker'], 'a head does not wait')
  t.strictSame(
    rayContainers({ metadata: {}, spec: { containers: [autoscaler()] } }, 'head'),
    ['autoscaler'],
    'once, if the Ray container has that name'
  )
  t.strictSame(rayContainers({ metadata: {}, spec: { containers: [] } }, 'head'), [], 'none')
  t.strictSame(rayContainers(submitterPod(), 'submitter'), [], 'a submitter has none')
  t.strictSame(rayContainers(redisCleanupPod(), 'redis-cleanup'), [], 'nor has a cleanup')
})

t.test('TLS is complete with the switch and three paths', async t => {
  const paths = ['RAY_TLS_SERVER_CERT', 'RAY_TLS_SERVER_KEY', 'RAY_TLS_CA_CERT']
  const env = (use: string | undefined, names = paths) => [
    ...(use === undefined ? [] : [{ name: 'RAY_USE_TLS', value: use }]),
    ...names.map(name => ({ name, value: '/x' })),
    { name: 'OTHER', value: '1' }
  ]
  const complete = (variables: ReturnType<typeof env>) =>
    hasCompleteTls(tlsVariables({ name: 'a', env: variables }))
  for (const use of ['1', 'true', 'True', 'TRUE']) t.ok(complete(env(use)), use)
  for (const use of ['0', 'false', '', 'yes', '$(X)', undefined])
    t.notOk(complete(env(use)), `${use}`)
  for (const path of paths) {
    t.notOk(
      complete(
        env(
          '1',
          paths.filter(name => name !== path)
        )
      ),
      `without ${path}`
    )
  }
  t.notOk(complete([...env('1'), { name: 'RAY_USE_TLS', value: '0' }]), 'the last one counts')
  t.strictSame(tlsVariables({ name: 'a' }), [], 'no variables')
  const reference = { name: 'RAY_TLS_CA_CERT', valueFrom: { configMapKeyRef: {} } }
  t.ok(
    hasCompleteTls([
      { name: 'RAY_USE_TLS', value: '1' },
      ...paths.slice(0, 2).map(name => ({ name, value: '/x' })),
      reference
    ]),
    'a path may be a reference'
  )
})

t.test('names of the head service', async t => {
  const cluster = (name: string, changes: Partial<RayCluster> = {}): RayCluster => ({
    metadata: { name },
    ...changes
  })
  t.strictSame(headServiceCandidates(cluster('demo')), ['demo-head-svc'], 'computed')
  const name = `a${'b'.repeat(47)}`
  t.strictSame(
    headServiceCandidates(cluster(name)),
    [`${name}-head-svc`, `${name}-head-svc`.slice(-50)],
    'KubeRay before 1.4 kept fifty characters'
  )
  t.strictSame(headServiceNames('1abc'), ['1abc-head-svc', 'rabc-head-svc'], 'a leading digit')
  t.strictSame(headServiceNames(`x.${'y'.repeat(40)}`)[1]?.[0], 'r', 'a leading mark')
  t.strictSame(headServiceNames(''), [], 'no name')
  const given = (service: string | undefined) => ({
    spec: { headGroupSpec: { headService: { metadata: { name: service as string } } } }
  })
  t.strictSame(headServiceCandidates(cluster('demo', given('mine'))), ['mine'], 'given')
  t.strictSame(headServiceCandidates(cluster('demo', given(''))), ['demo-head-svc'], 'given empty')
  for (const odd of ['*', 'a.b', '*.svc', 'A', '-a', 'a-', 'a'.repeat(64), 'kubernetes.default']) {
    t.strictSame(
      headServiceCandidates(cluster('demo', given(odd))),
      [],
      `${odd.slice(0, 20)} is no label`
    )
  }
  t.strictSame(
    headServiceCandidates(cluster('demo', { status: { head: { serviceName: 'seen' } } })),
    ['seen', 'demo-head-svc'],
    'what the status says comes first'
  )
  t.strictSame(
    headServiceCandidates(cluster('demo', { status: { head: { serviceName: 'demo-head-svc' } } })),
    ['demo-head-svc'],
    'once'
  )
  t.strictSame(headServiceCandidates({ metadata: {} }), [], 'nothing known')
  t.equal(serviceFqdn('a', 'b', 'c.d'), 'a.b.svc.c.d', 'its FQDN')
})

t.test('places where an author can edit a container', async t => {
  const head = headPod({ spec: { initContainers: [{ name: 'mine' }] } })
  head.spec.containers.push(autoscaler(), { name: 'ray-history-collector' }, { name: 'side' })
  const template = 'spec.headGroupSpec.template.spec'
  t.equal(placeInResource(head, undefined), template, 'the pod')
  t.equal(placeInResource(head, 'ray-head'), `${template}.containers[0]`, 'the Ray container')
  t.equal(placeInResource(head, 'side'), `${template}.containers[3]`, 'a sidecar')
  t.equal(
    placeInResource(head, 'mine'),
    `${template}.initContainers[name=mine]`,
    'an init container'
  )
  t.equal(
    placeInResource(head, 'autoscaler'),
    'spec.autoscalerOptions.securityContext',
    'the autoscaler'
  )
  t.equal(placeInResource(head, 'ray-history-collector'), undefined, 'nowhere')
  t.equal(
    placeInResource(workerPod(), 'wait-gcs-ready'),
    'spec.workerGroupSpecs[groupName=small].template.spec.containers[0]',
    'a copy of the Ray container'
  )
  t.equal(
    placeInResource(podWith({ 'ray.io/cluster': 'a', 'ray.io/node-type': 'worker' }), undefined),
    'spec.workerGroupSpecs[groupName=?].template.spec',
    'a group that is not known'
  )
  t.equal(
    placeInResource(submitterPod(), 'ray-job-submitter'),
    undefined,
    'KubeRay makes the submitter’s container'
  )
  t.equal(placeInResource(submitterPod(), undefined), 'spec.submitterPodTemplate.spec', 'its pod')
  t.equal(placeInResource(redisCleanupPod(), undefined), template, 'a copy of the head')
  t.equal(placeInResource(podWith(null), 'a'), undefined, 'any other pod')
})
