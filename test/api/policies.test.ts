/**
 * The lock-down of namespaces with `rayguard.dev/tls: required`: each attack is tried on the real API server, and the real
 * KubeRay operator, Job controller and garbage collector go on with their work.
 */
import t, { type Test } from 'tap'
import type { Container, KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import {
  ApiFailure,
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  makeToken,
  skip
} from '../support/cluster.ts'
import { checkInjected } from '../support/cluster-checks.ts'
import {
  forgeries,
  mountInAgent,
  type PodChange,
  withoutAgent
} from '../support/cluster-forgeries.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { type PlayedKubelet, playKubelet } from '../support/cluster-kubelet.ts'
import { readManifest, toInput } from '../support/cluster-manifest.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { sample } from '../support/cluster-samples.ts'
import { besideProgram } from '../support/enroll-mounts.ts'

const admission = '/apis/admissionregistration.k8s.io/v1'
const required = { 'rayguard.dev/tls': 'required' }
const locked = 'locked'

t.test('policies for namespaces that require TLS', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const rayguard = await startRayguard(api, folder)
  await rayguard.register()
  const policies = (await readManifest(rayguard.image)).filter(({ kind = '' }) =>
    kind.startsWith('ValidatingAdmissionPolicy')
  )
  await kubectl(['apply', '-f', '-'], toInput(policies))
  const namespaces = [locked, 'locked-redis', 'unlocked', 'locked-paused']
  const kubelets: PlayedKubelet[] = []
  t.teardown(async () => {
    for (const kubelet of kubelets) await kubelet.stop()
    for (const namespace of namespaces) await api.delete(`/api/v1/namespaces/${namespace}`)
    await kubectl(['delete', '-f', '-'], toInput(policies))
    await rayguard.stop()
    api.close()
  })
  for (const namespace of namespaces) {
    await makeNamespace(api, namespace, {
      ...(namespace === 'unlocked' ? {} : required),
      ...(namespace === 'locked-paused' ? { 'rayguard.dev/paused': 'yes' } : {})
    })
  }
  const kuberay = api.as(await makeToken(api, 'kuberay-system', 'kuberay-operator'))
  const jobController = api.as(await makeToken(api, 'kube-system', 'job-controller'))
  const tenant = await tenantOf(api, locked)

  await t.test('the API server finds no fault in them', async t => {
    for (const { kind, metadata } of policies) {
      if (kind !== 'ValidatingAdmissionPolicy') continue
      const path = `${admission}/validatingadmissionpolicies/${metadata.name}`
      const { typeChecking } = await eventually(`${metadata.name} is looked at`, async () => {
        const { status, metadata } = await api.get<Policy>(path)
        return status?.observedGeneration === metadata.generation && status
      })
      t.strictSame(typeChecking, {}, `${metadata.name} has no type that does not fit`)
    }
    await eventually('they are in force', () =>
      tenant
        .create(`${podsOf(locked)}?dryRun=All`, plainPod('probe', { 'ray.io/cluster': 'probe' }))
        .then(() => false)
        .catch(() => true)
    )
  })

  await t.test('a RayJob with its cluster and its submitter is made as ever', async t => {
    kubelets.push(await playKubelet(api, locked, { folder, network: 60 }))
    await apply(api, locked, await sample('ray-job.sample'))
    const pods = await eventually('head, worker and submitter run', async () => {
      const running = (await api.list<Pod>(podsOf(locked))).filter(
        ({ status }) => status?.phase === 'Running'
      )
      return running.length === 3 && running
    })
    for (const pod of pods) if (nodeTypeOf(pod) !== undefined) checkInjected(t, pod)
    t.strictSame(
      pods.map(pod => nodeTypeOf(pod) ?? 'submitter').sort(),
      ['head', 'submitter', 'worker'],
      'one of each'
    )
  })

  await t.test('Redis is cleaned up by the pod of a Job', async () => {
    kubelets.push(await playKubelet(api, 'locked-redis', { folder, network: 61 }))
    await apply(api, 'locked-redis', await sample('ray-cluster.external-redis'))
    await eventually('head and worker run', async () => {
      const pods = await api.list<Pod>(podsOf('locked-redis'))
      return pods.length === 2 && pods.every(({ status }) => status?.phase === 'Running')
    })
    const clusters = '/apis/ray.io/v1/namespaces/locked-redis/rayclusters'
    const [cluster] = await api.list<KubernetesObject>(clusters)
    await api.delete(`${clusters}/${cluster?.metadata.name}`)
    await eventually('the cleanup pod is there', async () =>
      (await api.list<Pod>(podsOf('locked-redis'))).some(pod => nodeTypeOf(pod) === 'redis-cleanup')
    )
  })

  const pods = await api.list<Pod>(podsOf(locked))
  const worker = pods.find(pod => nodeTypeOf(pod) === 'worker') as Pod
  const head = pods.find(pod => nodeTypeOf(pod) === 'head') as Pod
  const pathOf = (pod: Pod) => `${podsOf(locked)}/${pod.metadata.name}`

  await t.test('nobody but KubeRay creates Ray pods', async t => {
    for (const [who, as] of [
      ['a tenant', tenant],
      ['an administrator', api],
      ['a Job that copies a worker', jobController]
    ] as const) {
      await refused(t, 'rayguard-authors', `${who} is refused`, () =>
        as.create(`${podsOf(locked)}?dryRun=All`, copyOf(worker))
      )
    }
    await kuberay.create(`${podsOf(locked)}?dryRun=All`, copyOf(worker))
    t.pass('KubeRay may')
  })

  await t.test('attack 29: a running pod stays what it was made as', async t => {
    const ordinary = await tenant.create<Pod>(podsOf(locked), plainPod('ordinary', {}))
    const labels = (changes: Record<string, string | null>) => ({ metadata: { labels: changes } })
    const attacks: [string, Pod, object, string?][] = [
      ['a worker becomes a head', worker, labels({ 'ray.io/node-type': 'head' })],
      ['the same by its status', worker, labels({ 'ray.io/node-type': 'head' }), '/status'],
      ['a pod goes to another cluster', worker, labels({ 'ray.io/cluster': 'other' })],
      ['a pod leaves its cluster', worker, labels({ 'ray.io/cluster': null })],
      ['a pod goes to another group', worker, labels({ 'ray.io/group': 'other' })],
      ['an ordinary pod becomes one of Ray', ordinary, labels({ 'ray.io/cluster': 'mine' })],
      ['an owner is taken away', worker, { metadata: { ownerReferences: [] } }],
      [
        'the report is forged',
        worker,
        { metadata: { annotations: { 'rayguard.dev/report': '{}' } } }
      ],
      [
        'an annotation of ours is added',
        worker,
        { metadata: { annotations: { 'rayguard.dev/netrc-secret': 'mine' } } }
      ],
      [
        'the agent is replaced',
        worker,
        {
          spec: {
            initContainers: worker.spec.initContainers?.map(container =>
              container.name === 'rayguard-enroll'
                ? { ...container, image: 'evil.test/agent' }
                : container
            )
          }
        }
      ]
    ]
    for (const [title, pod, change, subresource = ''] of attacks) {
      for (const as of subresource === '/status' ? [api] : [tenant, api]) {
        await refused(t, 'rayguard-identity', title, () =>
          as.patch(`${pathOf(pod)}${subresource}?dryRun=All`, change)
        )
      }
    }
    await tenant.patch(`${pathOf(worker)}?dryRun=All`, labels({ 'team.test/cost': 'mine' }))
    await kuberay.patch(`${pathOf(head)}?dryRun=All`, labels({ 'ray.io/serve': 'true' }))
    await jobController
      .patch(`${pathOf(worker)}?dryRun=All`, { metadata: { finalizers: [] } })
      .then(
        () => t.pass('what is not about identity stays possible'),
        error => t.equal(error.code, 403, 'no right, and no policy')
      )
  })

  await t.test('nobody enters the agent', async t => {
    const enter = (container: string, what: string) =>
      api.create(`${pathOf(worker)}/${what}?container=${container}&command=true&stdout=1`, {})
    for (const what of ['exec', 'attach']) {
      await refused(t, 'rayguard-exec', `${what} is refused`, () => enter('rayguard-enroll', what))
      const code = await enter('ray-worker', what).catch((error: ApiFailure) => error.code)
      t.not(code, 403, `${what} into Ray itself is a matter of RBAC`)
    }
  })

  await rayguard.unregister()
  await eventually('the registration is gone', async () => {
    const pod = plainPod('probe', { 'ray.io/cluster': 'probe', 'ray.io/node-type': 'worker' })
    const made = await api.create<Pod>(`${podsOf('unlocked')}?dryRun=All`, pod)
    return made.spec.initContainers === undefined
  })

  await t.test('without the webhook, or with another one after it, the pod is judged', async t => {
    await kuberay.create(`${podsOf(locked)}?dryRun=All`, copyOf(worker))
    await kuberay.create(`${podsOf(locked)}?dryRun=All`, copyOf(head))
    for (const [title, change] of forgeries) {
      await refused(t, 'rayguard-pods', title, () =>
        kuberay.create(`${podsOf(locked)}?dryRun=All`, copyOf(worker, change))
      )
      await api.create(`${podsOf('unlocked')}?dryRun=All`, copyOf(worker, change))
    }
    const mesh: Container = { name: 'istio-init', image: 'istio.test/proxy' }
    await kuberay.create(
      `${podsOf(locked)}?dryRun=All`,
      copyOf(worker, pod => pod.spec.initContainers?.unshift(mesh))
    )
    t.pass('the containers of a mesh may come first')
    await kuberay.create(
      `${podsOf(locked)}?dryRun=All`,
      copyOf(worker, pod => mountInAgent(pod, ...besideProgram))
    )
    t.pass('platforms may mount what they have beside the program')
    const bare = copyOf(worker, withoutAgent)
    await api.create(`${podsOf('locked-paused')}?dryRun=All`, bare)
    t.pass('a paused namespace is left alone')
  })

  await t.test('no ephemeral container gets at the key or the token', async t => {
    for (const name of ['rayguard-tls', 'rayguard-token']) {
      const volumeMounts = [{ name, mountPath: '/stolen', readOnly: true }]
      for (const as of [tenant, api]) {
        await refused(t, 'rayguard-ephemeral-containers', `${name} stays closed`, () =>
          as.patch(`${pathOf(worker)}/ephemeralcontainers?dryRun=All`, {
            spec: { ephemeralContainers: [{ name: 'debug', image: 'debug', volumeMounts }] }
          })
        )
      }
    }
    await tenant.patch(`${pathOf(worker)}/ephemeralcontainers?dryRun=All`, {
      spec: { ephemeralContainers: [{ name: 'debug', image: 'debug' }] }
    })
    t.pass('any other one is allowed')
  })

  await t.test(
    'attack 31: KubeRay gets no unprotected pod where the registration was deleted',
    async t => {
      const gone = worker.metadata.name
      await api.delete(`${pathOf(worker)}?gracePeriodSeconds=0`)
      const event = await eventually('the operator says why', async () =>
        (
          await api.list<KubernetesObject & { message: string; reason: string }>(
            `/api/v1/namespaces/${locked}/events`
          )
        ).find(({ message }) => message.includes('rayguard-pods'))
      )
      t.match(event.reason, /^FailedToCreate/, 'the event of the RayCluster names the policy')
      const workers = (await api.list<Pod>(podsOf(locked))).filter(
        pod => nodeTypeOf(pod) === 'worker' && pod.metadata.name !== gone
      )
      t.strictSame(workers, [], 'there is no worker without TLS')
    }
  )

  await t.test('the garbage collector lets go and cleans up', async t => {
    const clusters = `/apis/ray.io/v1/namespaces/${locked}/rayclusters`
    const [cluster] = await api.list<KubernetesObject>(clusters)
    await api.delete(
      `/apis/ray.io/v1/namespaces/${locked}/rayjobs/rayjob-sample?propagationPolicy=Orphan`
    )
    await api.delete(`${clusters}/${cluster?.metadata.name}?propagationPolicy=Orphan`)
    const orphan = await eventually('the head has no owner', async () => {
      const found = await api.get<Pod>(pathOf(head))
      return (found.metadata.ownerReferences ?? []).length === 0 && found
    })
    t.equal(nodeTypeOf(orphan), 'head', 'it is the head as it was')
    await api.delete(`${pathOf(head)}?gracePeriodSeconds=0`)
    await eventually(
      'an administrator deletes it',
      async () => (await api.find(pathOf(head))) === undefined
    )
  })
})

interface Policy {
  metadata: { generation: number }
  status?: { observedGeneration?: number; typeChecking?: object }
}

const podsOf = (namespace: string) => `/api/v1/namespaces/${namespace}/pods`
const nodeTypeOf = ({ metadata }: Pod) => metadata.labels?.['ray.io/node-type']

/** The pod as its author would ask for it again; the API server's own marks are gone. */
function copyOf(pod: Pod, change: PodChange = () => {}): Pod {
  const { generateName, labels, annotations, ownerReferences } = structuredClone(pod.metadata)
  const { nodeName: _node, ...spec } = structuredClone(pod.spec) as Pod['spec'] & {
    nodeName?: string
  }
  const copy = {
    metadata: { generateName, labels, annotations, ownerReferences },
    spec
  } as Pod
  change(copy)
  return copy
}

function plainPod(name: string, labels: Record<string, string>): Pod {
  return { metadata: { name, labels }, spec: { containers: [{ name: 'plain', image: 'plain' }] } }
}

async function refused(
  t: Test,
  policy: string,
  title: string,
  attempt: () => Promise<unknown>
): Promise<void> {
  const error = await attempt().then(
    () => undefined,
    (cause: unknown) => cause
  )
  if (!(error instanceof ApiFailure)) {
    t.fail(`${title}: nothing refused it`)
    return
  }
  t.match(error.message, `ValidatingAdmissionPolicy '${policy}'`, `${title}: refused by policy`)
}

/** Somebody with the role `edit`, as teams have it in their namespace. */
async function tenantOf(api: ClusterApi, namespace: string): Promise<ClusterApi> {
  await api.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, {
    metadata: { name: 'tenant' }
  })
  await api.create(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`, {
    metadata: { name: 'tenant' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'admin' },
    subjects: [{ kind: 'ServiceAccount', name: 'tenant', namespace }]
  })
  await api.create(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles`, {
    metadata: { name: 'debugger' },
    rules: [
      {
        apiGroups: [''],
        resources: ['pods/ephemeralcontainers'],
        verbs: ['get', 'patch', 'update']
      }
    ]
  })
  await api.create(`/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`, {
    metadata: { name: 'debugger' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'debugger' },
    subjects: [{ kind: 'ServiceAccount', name: 'tenant', namespace }]
  })
  return api.as(await makeToken(api, namespace, 'tenant'))
}
