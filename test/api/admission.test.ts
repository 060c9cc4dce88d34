/** Rayguard among the API server's own admission: Pod Security, LimitRanger, other webhooks, several passes. */
import t from 'tap'
import type { AdmissionReview } from '../../src/admission/review.ts'
import type {
  Container,
  KubernetesObject,
  Pod,
  SecurityContext
} from '../../src/kubernetes/objects.ts'
import { headPod, submitterPod, workerPod } from '../support/builders.ts'
import { apply, connect, eventually, makeNamespace, skip } from '../support/cluster.ts'
import { auditedOnCreation, callsOnCreation, type WebhookCall } from '../support/cluster-audit.ts'
import { makeCa } from '../support/cluster-certificates.ts'
import { checkInjected, checkRestricted } from '../support/cluster-checks.ts'
import { assign } from '../support/cluster-kubelet.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { record } from '../support/cluster-recording.ts'
import { sample } from '../support/cluster-samples.ts'
import { addSidecar, startWebhook } from '../support/cluster-webhooks.ts'

const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' }

t.test('Rayguard among the admission of a real API server', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const rayguard = await startRayguard(api, folder)
  await rayguard.register()
  t.teardown(async () => {
    await rayguard.unregister()
    await rayguard.stop()
    api.close()
  })

  const podsOf = (namespace: string) => `/api/v1/namespaces/${namespace}/pods`
  const create = (namespace: string, name: string, pod: Pod, query = '') =>
    api.create<Pod>(`${podsOf(namespace)}${query}`, named(pod, name))
  /** The message of the refusal. */
  const refused = async (namespace: string, pod: Pod) => {
    const answer = await create(namespace, 'refused', pod).then(
      () => 'allowed',
      (error: Error) => error.message
    )
    return answer
  }

  await t.test('Pod Security refuses the same pods where Rayguard is paused', async t => {
    const namespace = await makeNamespace(api, 'paused', {
      ...restricted,
      'rayguard.dev/paused': 'yes'
    })
    t.match(
      await refused(namespace, workerPod()),
      /403.*violates PodSecurity \\"restricted:latest\\"/,
      'an ordinary Ray pod is refused without Rayguard'
    )
    await apply(api, namespace, await sample('ray-cluster.sample'))
    const event = await eventually('the operator says that it may not', async () =>
      (
        await api.list<KubernetesObject & { reason: string; message: string }>(
          `/api/v1/namespaces/${namespace}/events`
        )
      ).find(({ reason }) => reason === 'FailedToCreateHeadPod')
    )
    t.match(event.message, 'violates PodSecurity', 'KubeRay gets no head pod')
    t.strictSame(await api.list(podsOf(namespace)), [], 'no Ray pod exists')

    await api.patch(`/api/v1/namespaces/${namespace}`, {
      metadata: { labels: { 'rayguard.dev/paused': null } }
    })
    const pods = await eventually('head and worker', async () => {
      const found = await api.list<Pod>(podsOf(namespace))
      return found.length === 2 && found
    })
    for (const pod of pods) checkInjected(t, pod)
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test(
    'what a later webhook adds is made safe in a second pass, and nothing else',
    async t => {
      const namespace = await makeNamespace(api, 'later-webhook', {
        ...restricted,
        'rayguard.test/sidecar': 'yes'
      })
      await api.create(`/api/v1/namespaces/${namespace}/limitranges`, limits)
      const sidecars: Record<string, Container> = {
        careless: { name: 'added', image: 'added' },
        careful: {
          name: 'added',
          image: 'added',
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
        }
      }
      const other = await startWebhook(api, {
        name: 'z-sidecar',
        folder,
        ca: makeCa(folder, 'other-ca'),
        namespaceLabel: 'rayguard.test/sidecar',
        respond: review => {
          const { metadata } = review.request.object as Pod
          const [kind = ''] = (metadata.name ?? '').split('-')
          return addSidecar(review, sidecars[kind] as Container)
        }
      })
      t.teardown(other.stop)
      await eventually('the other webhook is in force', async () =>
        (await create(namespace, 'careful-probe', headPod(), '?dryRun=All')).spec.containers.some(
          ({ name }) => name === 'added'
        )
      )

      const careless = await create(namespace, 'careless-worker', workerPod())
      checkRestricted(t, careless)
      t.ok(
        careless.spec.containers[0]?.env?.some(({ name }) => name === 'ADDED_BY_ANOTHER'),
        'what the other webhook added is kept'
      )
      const added = careless.spec.containers.find(({ name }) => name === 'added')
      t.match(added?.resources?.limits, { memory: '300Mi' }, 'LimitRanger has given it its limits')
      t.notOk(added?.env?.length, 'the added container gets no TLS')
      t.notOk(
        added?.volumeMounts?.some(({ name }) => name.startsWith('rayguard')),
        'nor the volume of the key'
      )
      const [first, second] = ours(await callsOnCreation(namespace, 'careless-worker'))
      t.equal(first?.mutated, true, 'the first pass injects')
      t.equal(second?.round, 1, 'the API server asks again')
      t.strictSame(
        second?.paths.filter(path => !path.startsWith('/spec/containers/1/') && !isReport(path)),
        [],
        'the second pass touches the added container alone'
      )

      await create(namespace, 'careful-head', headPod())
      const [, again] = ours(await callsOnCreation(namespace, 'careful-head'))
      t.match(again, { round: 1, mutated: false }, 'the second pass of a finished pod is no patch')
      await api.delete(`/api/v1/namespaces/${namespace}`)
    }
  )

  await t.test('a pod that was injected and defaulted before is left as it is', async t => {
    const namespace = await makeNamespace(api, 'again', restricted)
    for (const [name, pod] of [
      ['head', headPod()],
      ['worker', workerPod()]
    ] as const) {
      const stored = await create(namespace, name, pod)
      const { nodeName: _, ...spec } = stored.spec
      const copy = {
        metadata: { labels: stored.metadata.labels, annotations: stored.metadata.annotations },
        spec
      }
      const copied = await create(namespace, `${name}-copy`, copy as Pod)
      t.match(
        ours(await callsOnCreation(namespace, `${name}-copy`)),
        [{ mutated: false }],
        `the ${name} needs no patch`
      )
      t.strictSame(copied.spec, stored.spec, `the ${name} is stored as it was`)
      t.strictSame(copied.metadata.annotations, stored.metadata.annotations, 'with the same report')
    }
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test('the audit log says what held and what was decided', async t => {
    const namespace = await makeNamespace(api, 'audited', { 'rayguard.dev/pod-security': 'audit' })
    await create(namespace, 'head', headPod())
    const complying = { modes: 'tls=tls pod-security=audit', decision: 'head tls=rayguard' }
    t.strictSame(await auditedOnCreation(namespace, 'head'), complying, 'of a pod that complies')
    const pod = workerPod()
    pod.spec.hostPID = true
    await create(namespace, 'worker', pod)
    t.match(
      await auditedOnCreation(namespace, 'worker'),
      {
        decision: 'worker tls=rayguard',
        'pod-security-violations': /hostNamespaces: hostPID=true/
      },
      'of one that does not'
    )
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test('a dry run of the API server shows the patched pod', async t => {
    const pod = await create('default', 'dry', workerPod(), '?dryRun=All')
    checkInjected(t, pod)
    t.equal(await api.find(`${podsOf('default')}/dry`), undefined, 'and stores nothing')
  })

  await t.test('an ephemeral container is made safe, and cannot read the key', async t => {
    const namespace = await makeNamespace(api, 'ephemeral', {
      ...restricted,
      'rayguard.test/ephemeral': 'yes'
    })
    const reviews: AdmissionReview[] = []
    const recorder = await startWebhook(api, {
      name: 'a-recorder',
      folder,
      ca: makeCa(folder, 'recorder-ca'),
      namespaceLabel: 'rayguard.test/ephemeral',
      respond: review => {
        reviews.push(review)
        return []
      }
    })
    t.teardown(recorder.stop)
    await eventually('the recorder is in force', async () => {
      await create(namespace, 'probe', workerPod(), '?dryRun=All')
      return reviews.length > 0
    })
    const pod = await create(namespace, 'debugged', workerPod())
    await assign(api, pod, '127.0.90.1')
    const path = `${podsOf(namespace)}/debugged/ephemeralcontainers`
    const debug = (container: Partial<Container>) =>
      api.patch<Pod>(path, {
        spec: { ephemeralContainers: [{ name: 'debugger', image: 'shell', ...container }] }
      })
    t.match(
      await debug({ volumeMounts: [{ name: 'rayguard-tls', mountPath: '/tls' }] }).then(
        () => 'allowed',
        error => error.message
      ),
      /403.*rayguard-tls/,
      'one that mounts the key is refused'
    )
    const changed = await debug({})
    t.match(
      changed.spec.ephemeralContainers?.[0]?.securityContext,
      { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      'an ordinary one is made restricted'
    )
    const review = reviews.findLast(({ request }) => request.subResource === 'ephemeralcontainers')
    if (review) await record('ephemeral-container', review)
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test('nobody opts out, and administrators are told of a misspelt label', async t => {
    const namespace = await makeNamespace(api, 'opt-out', restricted)
    const off = workerPod({ ray: { env: [{ name: 'RAY_USE_TLS', value: '0' }] } })
    t.match(await refused(namespace, off), /403.*TlsVariables/, 'RAY_USE_TLS=0 is refused')
    t.match(
      await refused(namespace, workerPod({ annotations: { 'rayguard.dev/inject': 'false' } })),
      /403.*AnnotationUnknown/,
      'an annotation to opt out does not exist'
    )
    t.match(
      await refused(
        namespace,
        workerPod({ annotations: { 'rayguard.dev/report': '{"tls":"rayguard"}' } })
      ),
      'allowed',
      'a forged report stops nothing'
    )
    const forged = await api.get<Pod>(`${podsOf(namespace)}/refused`)
    checkInjected(t, forged)

    await api.patch(`/api/v1/namespaces/${namespace}`, {
      metadata: { labels: { 'rayguard.dev/tls': 'requird' } }
    })
    await eventually('the webhook has seen the label', async () =>
      /403.*NamespaceLabel/.test(await refused(namespace, headPod()))
    )
    await api.patch(`/api/v1/namespaces/${namespace}`, {
      metadata: { labels: { 'rayguard.dev/tls': 'disabled' } }
    })
    const plain = await eventually('TLS is off', () =>
      create(namespace, 'plain', workerPod()).catch(() => undefined)
    )
    t.notOk(
      plain.spec.initContainers?.some(({ name }) => name === 'rayguard-enroll'),
      'an administrator can turn TLS off for a namespace'
    )
    checkRestricted(t, plain)
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test('what is mended is never what the API server refuses', async t => {
    const namespace = await makeNamespace(api, 'conflicts', { 'rayguard.dev/tls': 'disabled' })
    const asks: Record<string, SecurityContext> = {
      privileged: { privileged: true },
      'sys-admin': { capabilities: { add: ['CAP_SYS_ADMIN'] } }
    }
    for (const [name, securityContext] of Object.entries(asks)) {
      const pod = (context: SecurityContext) =>
        workerPod({ ray: { securityContext: { ...securityContext, ...context } } })
      t.match(
        await refused(namespace, pod({ allowPrivilegeEscalation: false })),
        /422.*allowPrivilegeEscalation/,
        `${name} beside allowPrivilegeEscalation=false is an error to the API server`
      )
      const { spec } = await create(namespace, name, pod({}))
      t.strictSame(
        spec.containers[0]?.securityContext,
        securityContext,
        'so that container keeps what it has'
      )
      t.ok(spec.securityContext?.seccompProfile, 'the pod is mended all the same')
    }
    const windows = headPod({ spec: { os: { name: 'windows' } } })
    const { spec } = await create(namespace, 'windows', windows)
    t.strictSame(spec.securityContext, { runAsNonRoot: true }, 'Windows: the one field it may have')
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test('what is not Ray never comes to Rayguard', async t => {
    const namespace = await makeNamespace(api, 'not-ray')
    const job = submitterPod({ ray: { env: [] } })
    await create(namespace, 'ordinary-job', job)
    t.strictSame(await callsOnCreation(namespace, 'ordinary-job'), [], 'an ordinary Job')
    await create(namespace, 'submitter', submitterPod())
    t.match(
      await callsOnCreation(namespace, 'submitter'),
      [{ webhook: 'submitters.rayguard.dev', mutated: true }],
      'the same Job with a Ray submission is made restricted'
    )
    await api.delete(`/api/v1/namespaces/${namespace}`)
  })

  await t.test('while the webhook is away Ray pods wait, and nothing else does', async t => {
    await rayguard.stop()
    t.match(await refused('default', workerPod()), /failed calling webhook/, 'a Ray pod waits')
    const plain: Pod = { metadata: {}, spec: { containers: [{ name: 'plain', image: 'plain' }] } }
    const pod = await create('default', 'plain', plain)
    t.ok(pod.metadata.uid, 'another pod does not')
    await api.delete(`${podsOf('default')}/plain?gracePeriodSeconds=0`)
  })
})

const limits = {
  metadata: { name: 'defaults' },
  spec: {
    limits: [
      {
        type: 'Container',
        default: { cpu: '2', memory: '300Mi' },
        defaultRequest: { cpu: '100m', memory: '200Mi' }
      }
    ]
  }
}

function named(pod: Pod, name: string): Pod {
  const { generateName: _, namespace: __, ...metadata } = pod.metadata
  // owners that do not exist would have the pod collected
  const { ownerReferences: ___, ...rest } = metadata
  return { ...pod, metadata: { ...rest, name } }
}

const ours = (calls: WebhookCall[]) =>
  calls.filter(({ configuration }) => configuration === 'rayguard')

const isReport = (path: string) => path.includes('rayguard.dev~1report')
