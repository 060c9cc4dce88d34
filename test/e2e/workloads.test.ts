/** Every kind of Ray workload under `restricted`, unchanged: jobs in each mode, a service, an autoscaler. */
import type { Test } from 'tap'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { apply, type ClusterApi, eventually } from '../support/cluster.ts'
import { checkInjected, checkRestricted } from '../support/cluster-checks.ts'
import { forSmallNode, install, remove } from '../support/cluster-install.ts'
import { execute } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import { nameOf } from '../support/cluster-replicas.ts'
import {
  clusterSpec,
  jobOverHosts,
  rayJob,
  rayService,
  submitterTemplate
} from '../support/cluster-workloads.ts'

const limitMs = 300_000
const certificate = '/etc/rayguard/tls/tls.crt'

interface RayJob extends KubernetesObject {
  status?: {
    jobStatus?: string
    jobDeploymentStatus?: string
    message?: string
    rayClusterName?: string
  }
}

interface RayService extends KubernetesObject {
  status?: {
    activeServiceStatus?: { rayClusterName?: string }
    conditions?: { type: string; status: string }[]
  }
}

part('workloads', async (t, { api, namespace: makeNamespace }) => {
  await remove()
  await install(t, t.testdir(), forSmallNode)
  const labels = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    'rayguard.dev/tls': 'required'
  }

  await t.test('a RayJob by a submitter, with an autoscaler from 0 to 3 workers', async t => {
    const namespace = await makeNamespace('job-k8s', labels)
    const job = rayJob('scaled', {
      entrypoint: jobOverHosts(3),
      submitterPodTemplate: submitterTemplate,
      rayClusterSpec: clusterSpec({ workers: { least: 0, most: 3 }, autoscaler: true })
    })
    await apply(api, namespace, [job])
    // they go again when they are idle, so they are looked at while they are there
    const seen = new Map<string, Pod>()
    await finished(t, api, namespace, 'scaled', async () => {
      for (const pod of await podsOf(api, namespace)) seen.set(pod.metadata.uid ?? '', pod)
    })
    const pods = [...seen.values()]
    const of = (type: string) =>
      pods.filter(({ metadata }) => metadata.labels?.['ray.io/node-type'] === type)
    const submitters = pods.filter(
      ({ metadata }) => metadata.labels?.['batch.kubernetes.io/job-name']
    )
    t.equal(of('head').length, 1, 'one head')
    t.equal(of('worker').length, 3, 'three workers were asked for')
    t.ok(
      of('head')[0]?.spec.containers.some(({ name }) => name === 'autoscaler'),
      'with an autoscaler'
    )
    for (const pod of [...of('head'), ...of('worker')]) checkInjected(t, pod)
    t.equal(submitters.length, 1, 'one submitter')
    for (const pod of submitters) {
      checkRestricted(t, pod)
      t.notOk(pod.spec.initContainers?.length, 'it speaks HTTP and gets no certificate')
    }
    await eventually(
      'idle workers are gone',
      async () =>
        !(await podsOf(api, namespace)).some(
          ({ metadata }) => metadata.labels?.['ray.io/node-type'] === 'worker'
        ),
      limitMs
    )
    await clear(api, namespace, 'rayjobs', 'scaled')
  })

  // one after the other: three heads that start at once on two processors miss their probes
  for (const [name, title, mode] of [
    ['http', 'a RayJob that the operator submits over HTTP', 'HTTPMode'],
    ['sidecar', 'a RayJob that a sidecar of the head submits', 'SidecarMode']
  ] as const) {
    await t.test(title, async t => {
      const namespace = await makeNamespace(`job-${name}`, labels)
      const rayClusterSpec = clusterSpec({ workers: { least: 1, most: 1 } })
      const entrypoint = jobOverHosts(1)
      const job = rayJob(name, { rayClusterSpec, entrypoint, submissionMode: mode })
      await apply(api, namespace, [job])
      await finished(t, api, namespace, name)
      for (const pod of await podsOf(api, namespace)) checkInjected(t, pod)
      await clear(api, namespace, 'rayjobs', name)
    })
  }

  await t.test('a RayJob that a person submits', async t => {
    const namespace = await makeNamespace('job-by-hand', labels)
    const rayClusterSpec = clusterSpec({ workers: { least: 1, most: 1 } })
    await apply(api, namespace, [
      rayJob('by-hand', { rayClusterSpec, submissionMode: 'InteractiveMode' })
    ])
    const cluster = await eventually(
      'the job waits to be submitted',
      async () => {
        const { status } = await jobOf(api, namespace, 'by-hand')
        return status?.jobDeploymentStatus === 'Waiting' && status.rayClusterName
      },
      limitMs
    )
    const submitted = await execute(
      ...([namespace, nameOf(await headOf(api, namespace, cluster)), 'ray'] as const),
      ...['job', 'submit', '--no-wait', '--submission-id', 'mine'],
      ...['--address', 'http://127.0.0.1:8265', '--', 'sh', '-c', jobOverHosts(1)]
    )
    t.equal(submitted.code, 0, `submitted: ${submitted.stderr.slice(-300)}`)
    await api.patch(jobPath(namespace, 'by-hand'), { spec: { jobId: 'mine' } })
    await finished(t, api, namespace, 'by-hand')
    await clear(api, namespace, 'rayjobs', 'by-hand')
  })

  await t.test('a RayService answers, and its head has the name that stays', async t => {
    const namespace = await makeNamespace('service', labels)
    await apply(api, namespace, rayService('hello'))
    const path = `/apis/ray.io/v1/namespaces/${namespace}/rayservices/hello`
    const cluster = await eventually(
      'the service is ready',
      async () => {
        const { status } = await api.get<RayService>(path)
        const ready = status?.conditions?.some(
          ({ type, status: state }) => type === 'Ready' && state === 'True'
        )
        return ready === true && status?.activeServiceStatus?.rayClusterName
      },
      limitMs
    )
    const pods = await podsOf(api, namespace)
    for (const pod of pods) checkInjected(t, pod)
    const head = await headOf(api, namespace, cluster)
    const names = await execute(
      ...([namespace, nameOf(head), 'openssl', 'x509', '-noout'] as const),
      ...['-ext', 'subjectAltName', '-in', certificate]
    )
    for (const service of [`${cluster}-head-svc`, 'hello-head-svc'])
      t.match(
        names.stdout,
        `DNS:${service}.${namespace}.svc.cluster.local`,
        `the head is ${service}`
      )
    const url = `http://hello-serve-svc.${namespace}.svc.cluster.local:8000/`
    const script = `import urllib.request as u; print(u.urlopen("${url}", timeout=20).read().decode())`
    const answer = await eventually(
      'an answer',
      async () => {
        const { stdout } = await execute(namespace, nameOf(head), 'python3', '-c', script)
        return stdout.trim() || undefined
      },
      limitMs
    )
    t.equal(answer, 'hello over TLS')
    await clear(api, namespace, 'rayservices', 'hello')
  })
  await remove()
})

function jobPath(namespace: string, name: string): string {
  return `/apis/ray.io/v1/namespaces/${namespace}/rayjobs/${name}`
}

function jobOf(api: ClusterApi, namespace: string, name: string): Promise<RayJob> {
  return api.get<RayJob>(jobPath(namespace, name))
}

function podsOf(api: ClusterApi, namespace: string): Promise<Pod[]> {
  return api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
}

async function headOf(api: ClusterApi, namespace: string, cluster: string): Promise<Pod> {
  const found = (await podsOf(api, namespace)).find(
    ({ metadata }) =>
      metadata.labels?.['ray.io/cluster'] === cluster &&
      metadata.labels['ray.io/node-type'] === 'head'
  )
  if (!found) throw new Error(`there is no head of ${cluster}`)
  return found
}

async function finished(
  t: Test,
  api: ClusterApi,
  namespace: string,
  name: string,
  meanwhile: () => Promise<void> = async () => {}
): Promise<void> {
  const status = await eventually(
    `the job ${name} ends`,
    async () => {
      await meanwhile()
      const found = (await jobOf(api, namespace, name)).status
      return /SUCCEEDED|FAILED|STOPPED/.test(found?.jobStatus ?? '') && found
    },
    limitMs
  )
  t.equal(status.jobStatus, 'SUCCEEDED', `${name}: ${status.message ?? ''}`)
}

/** Makes room for the next one. */
async function clear(
  api: ClusterApi,
  namespace: string,
  resource: string,
  name: string
): Promise<void> {
  await api.delete(`/apis/ray.io/v1/namespaces/${namespace}/${resource}/${name}`)
  await eventually(
    'the room is free again',
    async () => (await podsOf(api, namespace)).length === 0,
    limitMs
  )
}
