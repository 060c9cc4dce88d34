/** What the unmodified operator makes of its own samples, in namespaces that enforce `restricted`. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { AdmissionReview } from '../../src/admission/review.ts'
import type { KubernetesObject, Pod, RayCluster } from '../../src/kubernetes/objects.ts'
import {
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  skip
} from '../support/cluster.ts'
import { makeCa } from '../support/cluster-certificates.ts'
import { checkCertificate, checkInjected, checkRestricted } from '../support/cluster-checks.ts'
import { checkForetold } from '../support/cluster-foretold.ts'
import { type PlayedKubelet, playKubelet } from '../support/cluster-kubelet.ts'
import { type RunningRayguard, startRayguard } from '../support/cluster-rayguard.ts'
import { record } from '../support/cluster-recording.ts'
import { sample } from '../support/cluster-samples.ts'
import { startWebhook } from '../support/cluster-webhooks.ts'

interface Case {
  /** Also the namespace. */
  name: string
  title: string
  sample: string
  change?(object: { kind?: string; spec: Record<string, unknown> }): void
  /** How many pods of each kind the operator makes; `submitter` is the pod of a RayJob's own. */
  pods: { head: number; worker?: number; submitter?: number }
  /** Of the head's certificate, where they do not follow from the name of the RayCluster. */
  headNames?(cluster: string): string[]
  /** Fixtures: which pod is kept under which name. */
  record: Partial<Record<'head' | 'worker' | 'submitter', string>>
}

const cases: Case[] = [
  {
    name: 'plain',
    title: 'a RayCluster',
    sample: 'ray-cluster.sample',
    pods: { head: 1, worker: 1 },
    record: { head: 'head', worker: 'worker' }
  },
  {
    name: 'autoscaler',
    title: 'a RayCluster with an autoscaler beside its head',
    sample: 'ray-cluster.autoscaler',
    pods: { head: 1 },
    record: { head: 'head-autoscaler' }
  },
  {
    name: 'autoscaler-v2',
    title: 'a RayCluster whose pods are never restarted (autoscaler v2)',
    sample: 'ray-cluster.autoscaler-v2',
    pods: { head: 1 },
    record: { head: 'head-autoscaler-v2' }
  },
  {
    name: 'multi-host',
    title: 'a worker group with several hosts a replica',
    sample: 'ray-cluster.tpu-v4-multihost',
    pods: { head: 1, worker: 2 },
    record: { worker: 'worker-multi-host' }
  },
  {
    name: 'custom-service',
    title: 'a head service with a name of its own',
    sample: 'ray-cluster.custom-head-service',
    pods: { head: 1 },
    headNames: () => ['custom-ray-head-service-name'],
    record: { head: 'head-custom-service' }
  },
  {
    name: 'job',
    title: 'a RayJob that submits by a Kubernetes Job',
    sample: 'ray-job.sample',
    pods: { head: 1, worker: 1, submitter: 1 },
    headNames: cluster => [`${cluster}-head-svc`, 'rayjob-sample-head-svc'],
    record: { submitter: 'submitter' }
  },
  {
    name: 'job-sidecar',
    title: 'a RayJob that submits from beside the head',
    sample: 'ray-job.sidecar-mode',
    pods: { head: 1, worker: 1 },
    headNames: cluster => [`${cluster}-head-svc`, 'rayjob-sidecar-mode-head-svc'],
    record: { head: 'head-sidecar-submitter' }
  },
  {
    name: 'job-http',
    title: 'a RayJob that submits over HTTP',
    sample: 'ray-job.sample',
    change: object => {
      if (object.kind === 'RayJob') object.spec.submissionMode = 'HTTPMode'
    },
    pods: { head: 1, worker: 1 },
    headNames: cluster => [`${cluster}-head-svc`, 'rayjob-sample-head-svc'],
    record: {}
  },
  {
    name: 'job-interactive',
    title: 'a RayJob that waits for a person',
    sample: 'ray-job.interactive-mode',
    pods: { head: 1, worker: 1 },
    headNames: cluster => [`${cluster}-head-svc`, 'rayjob-interactive-mode-head-svc'],
    record: {}
  },
  {
    name: 'service',
    title: 'a RayService',
    sample: 'ray-service.sample',
    pods: { head: 1, worker: 1 },
    headNames: cluster => [`${cluster}-head-svc`, 'rayservice-sample-head-svc'],
    record: { head: 'head-service', worker: 'worker-service' }
  }
]

t.test('pods that the KubeRay operator makes', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const rayguard = await startRayguard(api, folder)
  const reviews: AdmissionReview[] = []
  const recorder = await startWebhook(api, {
    // before `rayguard`: what it sees is what Rayguard sees
    name: 'a-recorder',
    folder,
    ca: makeCa(folder, 'recorder-ca'),
    namespaceLabel: 'rayguard.test/recorded',
    respond: review => {
      reviews.push(review)
      return []
    }
  })
  await rayguard.register()
  t.teardown(async () => {
    await rayguard.unregister()
    await recorder.stop()
    await rayguard.stop()
    api.close()
  })
  const stage = { api, rayguard, folder, reviews }

  for (const [index, each] of cases.entries()) {
    await t.test(`${each.title} gets certificates and keeps to restricted`, async t => {
      await playCase(t, stage, each, index + 1)
    })
  }

  await t.test(
    'the pod that clears Redis up is made safe and does not wait for a certificate',
    async t => {
      await playRedisCleanup(t, stage, cases.length + 1)
    }
  )
})

interface Stage {
  api: ClusterApi
  rayguard: RunningRayguard
  folder: string
  reviews: AdmissionReview[]
}

async function playCase(t: Test, stage: Stage, each: Case, network: number): Promise<void> {
  const { api, rayguard, reviews } = stage
  const kubelet = await begin(t, stage, each.name, network)
  const objects = await sample(each.sample)
  for (const object of objects)
    each.change?.(object as KubernetesObject & { spec: Record<string, unknown> })
  await apply(api, each.name, objects)

  const wanted = Object.values(each.pods).reduce((sum, count) => sum + count, 0)
  const pods = await eventually(`${wanted} pods in ${each.name}`, () =>
    runningPods(api, each.name, wanted, kubelet)
  )
  const cluster = await readyCluster(api, each.name)
  for (const pod of pods) {
    const kind = kindOf(pod)
    const recorded = kind === 'other' ? undefined : each.record[kind]
    if (recorded !== undefined) {
      const review = reviews.find(({ request }) => sameAuthor(request, pod, each.name))
      if (review) await record(recorded, review)
    }
    if (kind === 'submitter') {
      t.notOk(
        pod.spec.initContainers?.length,
        'a submitter speaks HTTP alone and waits for nothing'
      )
      checkRestricted(t, pod)
      continue
    }
    checkInjected(t, pod)
    const services = each.headNames?.(cluster) ?? [`${cluster}-head-svc`]
    const run = kubelet.runs.get(pod.metadata.name ?? '')
    t.equal(
      run?.exitCode,
      0,
      `the agent has written its files${run?.exitCode ? `: ${run.output}` : ''}`
    )
    if (run === undefined || run.exitCode !== 0) continue
    checkCertificate(t, {
      run,
      pod,
      ca: rayguard.ca.certificate,
      ip: pod.status?.podIP ?? '',
      dnsNames:
        kind === 'head' ? services.map(name => `${name}.${each.name}.svc.cluster.local`) : []
    })
  }
  t.strictSame(counts(pods), { worker: 0, submitter: 0, other: 0, ...each.pods }, 'no other pods')
  checkForetold(t, {
    objects,
    reviews: reviews.filter(({ request }) => request.namespace === each.name),
    headServices: each.headNames?.(cluster) ?? [`${cluster}-head-svc`]
  })
}

async function playRedisCleanup(t: Test, stage: Stage, network: number): Promise<void> {
  const { api, reviews } = stage
  const namespace = 'fault-tolerance'
  const kubelet = await begin(t, stage, namespace, network)
  await apply(api, namespace, await sample('ray-cluster.external-redis'))
  const pods = await eventually('head and worker', () => runningPods(api, namespace, 2, kubelet))
  const cluster = await readyCluster(api, namespace)
  for (const pod of pods) checkInjected(t, pod)
  const head = reviews.find(
    ({ request }) => request.namespace === namespace && kindOf(request.object as Pod) === 'head'
  )
  if (head) await record('head-fault-tolerance', head)

  await api.delete(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/${cluster}`)
  const cleanup = await eventually('the cleanup pod', async () =>
    (await api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)).find(
      ({ metadata }) => metadata.labels?.['ray.io/node-type'] === 'redis-cleanup'
    )
  )
  t.notOk(cleanup.spec.initContainers?.length, 'it has no init container that could hold it up')
  checkRestricted(t, cleanup)
  const review = reviews.find(
    ({ request }) =>
      (request.object as Pod).metadata.labels?.['ray.io/node-type'] === 'redis-cleanup'
  )
  if (review) await record('redis-cleanup', review)
}

async function begin(t: Test, { api, folder }: Stage, namespace: string, network: number) {
  await makeNamespace(api, namespace, {
    'pod-security.kubernetes.io/enforce': 'restricted',
    'rayguard.test/recorded': 'yes'
  })
  const kubelet = await playKubelet(api, namespace, { folder, network })
  t.teardown(async () => {
    await kubelet.stop()
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })
  return kubelet
}

async function runningPods(
  api: ClusterApi,
  namespace: string,
  count: number,
  kubelet: PlayedKubelet
) {
  const pods = await api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
  const settled = pods.filter(
    ({ metadata, status }) =>
      status?.phase === 'Running' || (kubelet.runs.get(metadata.name ?? '')?.exitCode ?? 0) !== 0
  )
  if (settled.length < count) return undefined
  // one too many would show a moment later
  await sleep(500)
  return api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
}

async function readyCluster(api: ClusterApi, namespace: string): Promise<string> {
  const path = `/apis/ray.io/v1/namespaces/${namespace}/rayclusters`
  const ready = await eventually('the RayCluster is ready', async () =>
    (await api.list<RayCluster & { status?: { state?: string } }>(path)).find(
      ({ status }) => status?.state === 'ready'
    )
  )
  return ready.metadata.name ?? ''
}

function kindOf({ metadata }: Pod): 'head' | 'worker' | 'submitter' | 'other' {
  const type = metadata.labels?.['ray.io/node-type']
  if (type === 'head' || type === 'worker') return type
  return metadata.labels?.['batch.kubernetes.io/job-name'] === undefined ? 'other' : 'submitter'
}

/** The review of a stored pod: at admission it has no name yet. */
function sameAuthor(request: AdmissionReview['request'], pod: Pod, namespace: string): boolean {
  const { metadata } = request.object as Pod
  return request.namespace === namespace && metadata.generateName === pod.metadata.generateName
}

function counts(pods: Pod[]): Record<string, number> {
  const found = { head: 0, worker: 0, submitter: 0, other: 0 }
  for (const pod of pods) found[kindOf(pod)] += 1
  return found
}
