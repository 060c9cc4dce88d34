import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { podSecurityModes, reportAnnotation, tlsModes } from '../../src/contract/pod.ts'
import { inject } from '../../src/injection/inject.ts'
import type { Injection } from '../../src/injection/outcome.ts'
import type { InjectionRequest } from '../../src/injection/settings.ts'
import type { Container, EnvVar, Pod, VolumeMount } from '../../src/kubernetes/objects.ts'
import { applied, defaulted } from '../support/api-server.ts'
import { arbitraryPod } from '../support/arbitrary-pods.ts'
import {
  autoscaler,
  headPod,
  injectionRequest,
  injectionSettings,
  submitterPod,
  workerPod
} from '../support/builders.ts'
import { besideProgram, overProgram } from '../support/enroll-mounts.ts'
import { enrolledPods, foreignTlsPods, hardened, jobPods } from '../support/kuberay-pods.ts'

const settings = injectionSettings({ imagePullSecrets: ['rayguard-pull'] })

function injected(pod: Pod, request: Partial<InjectionRequest> = {}) {
  const result = inject(pod, injectionRequest(request), settings)
  if (!result.allowed) throw new Error(`refused: ${result.code}: ${result.reason}`)
  return result
}

function codeOf(pod: Pod, request: Partial<InjectionRequest> = {}): string | undefined {
  const result = inject(pod, injectionRequest(request), settings)
  return result.allowed ? undefined : result.code
}

function all(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers]
}

function named(pod: Pod, name: string): Container {
  const found = all(pod).find(container => container.name === name)
  if (!found) throw new Error(`no container ${name}`)
  return found
}

t.test(
  'every head and worker of the catalogue enrolls, and a second pass has nothing to do',
  async t => {
    for (const [name, pod] of Object.entries(enrolledPods)) {
      const before = JSON.stringify(pod)
      const first = injected(pod)
      const after = applied(pod, first.operations)
      t.strictSame(after, JSON.parse(JSON.stringify(first.pod)), `${name}: the patch makes the pod`)
      t.equal(JSON.stringify(pod), before, `${name}: the pod that came in is as it was`)
      t.equal(after.spec.initContainers?.[0]?.name, 'rayguard-enroll', `${name}: ours is first`)
      t.strictSame(injected(after).operations, [], `${name}: nothing to do after the patch`)
      const seen = defaulted(after)
      t.strictSame(injected(seen).operations, [], `${name}: nor after the API server`)
      t.strictSame(
        first.findings.filter(({ kind }) => kind === 'violation'),
        [],
        `${name}: complies with restricted`
      )
    }
  }
)

t.test('a worker gets exactly these parts', async t => {
  const { pod, kind } = injected(workerPod())
  t.equal(kind, 'worker', 'it is a worker')
  const variables = [
    { name: 'RAY_USE_TLS', value: '1' },
    { name: 'RAY_TLS_SERVER_CERT', value: '/etc/rayguard/tls/tls.crt' },
    { name: 'RAY_TLS_SERVER_KEY', value: '/etc/rayguard/tls/tls.key' },
    { name: 'RAY_TLS_CA_CERT', value: '/etc/rayguard/tls/ca.crt' }
  ]
  for (const name of ['ray-worker', 'wait-gcs-ready']) {
    const container = named(pod, name)
    t.strictSame(container.env?.slice(-4), variables, `${name} has the variables last`)
    t.strictSame(
      container.volumeMounts?.at(-1),
      { name: 'rayguard-tls', mountPath: '/etc/rayguard/tls', readOnly: true },
      `${name} mounts the certificate read-only`
    )
    t.strictSame(
      container.securityContext,
      { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      `${name} is tightened`
    )
  }
  t.strictSame(
    pod.spec.volumes?.slice(1),
    [
      { name: 'rayguard-tls', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
      {
        name: 'rayguard-token',
        projected: {
          sources: [
            { serviceAccountToken: { audience: 'rayguard', expirationSeconds: 600, path: 'token' } }
          ],
          defaultMode: 0o444
        }
      },
      { name: 'rayguard-no-api-token', emptyDir: { sizeLimit: '1Mi' } }
    ],
    'three volumes are appended'
  )
  t.strictSame(
    pod.spec.securityContext,
    {
      supplementalGroups: [65532],
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' }
    },
    'the pod’s own security context'
  )
  t.strictSame(pod.spec.imagePullSecrets, [{ name: 'rayguard-pull' }], 'the pull secret')
  const enroll = named(pod, 'rayguard-enroll')
  t.match(enroll, {
    image: settings.image,
    command: ['rayguard', 'enroll'],
    resources: {
      requests: { cpu: '500m', memory: '128Mi' },
      limits: { cpu: '500m', memory: '128Mi' }
    },
    securityContext: {
      ...hardened,
      readOnlyRootFilesystem: true,
      runAsUser: 65532,
      runAsGroup: 65532
    }
  })
  t.strictSame(
    enroll.env?.map(({ name, value, valueFrom }) => [
      name,
      valueFrom?.fieldRef?.fieldPath ?? value
    ]),
    [
      ['RAYGUARD_SERVER_URL', settings.serverUrl],
      ['RAYGUARD_SERVER_CA', settings.serverCa],
      ['RAYGUARD_POD_IPS', 'status.podIPs'],
      ['RAYGUARD_POD_NAME', 'metadata.name'],
      ['RAYGUARD_POD_NAMESPACE', 'metadata.namespace'],
      ['RAYGUARD_POD_UID', 'metadata.uid'],
      ['RAYGUARD_KEY_ALGORITHM', 'P-256'],
      ['RAYGUARD_KEY_GROUP', '65532']
    ],
    'the agent’s variables'
  )
  t.strictSame(
    JSON.parse(pod.metadata.annotations?.[reportAnnotation] ?? ''),
    {
      node: 'worker',
      tls: 'rayguard',
      tlsContainers: ['ray-worker', 'wait-gcs-ready'],
      findings: []
    },
    'the report'
  )
})

t.test('the operations are the smallest ones', async t => {
  const operations = injected(workerPod()).operations.map(
    operation => `${operation.op} ${operation.path}`
  )
  t.strictSame(operations, [
    'add /spec/initContainers/0',
    'add /spec/volumes/-',
    'add /spec/volumes/-',
    'add /spec/volumes/-',
    'add /spec/imagePullSecrets',
    'add /spec/securityContext/supplementalGroups',
    ...Array(4).fill('add /spec/initContainers/1/env/-'),
    'add /spec/initContainers/1/volumeMounts',
    ...Array(4).fill('add /spec/containers/0/env/-'),
    'add /spec/containers/0/volumeMounts/-',
    'add /spec/securityContext/runAsNonRoot',
    'add /spec/securityContext/seccompProfile',
    'add /spec/initContainers/1/securityContext',
    'add /spec/containers/0/securityContext',
    'add /metadata/annotations'
  ])
})

t.test('attack 66: only containers that speak gRPC get the certificate', async t => {
  const pod = headPod()
  pod.spec.containers.push(autoscaler(), { name: 'ray-history-collector' }, { name: 'logs' })
  pod.spec.initContainers = [{ name: 'user-init' }]
  const result = injected(pod).pod
  const mounting = all(result).filter(({ volumeMounts }) =>
    volumeMounts?.some(({ name }) => name === 'rayguard-tls')
  )
  t.strictSame(
    mounting.map(({ name }) => name),
    ['rayguard-enroll', 'ray-head', 'autoscaler'],
    'the others do not mount it'
  )
  for (const name of ['ray-history-collector', 'logs', 'user-init']) {
    t.notOk(named(result, name).env, `${name} has no variable of ours`)
    t.strictSame(
      named(result, name).securityContext?.capabilities,
      { drop: ['ALL'] },
      `${name} is tightened`
    )
  }
  const wished = {
    ...pod,
    metadata: { ...pod.metadata, annotations: { 'rayguard.dev/tls-containers': 'logs, user-init' } }
  }
  const more = injected(wished)
  for (const name of ['logs', 'user-init']) {
    t.equal(named(more.pod, name).env?.length, 4, `${name} has them by annotation`)
  }
  t.strictSame(injected(applied(wished, more.operations)).operations, [], 'and once')
})

t.test('submitters and Redis cleanups get security alone', async t => {
  for (const [name, pod] of Object.entries(jobPods)) {
    const result = injected(pod, { tls: 'required' })
    t.notOk(
      all(result.pod).some(container => container.name === 'rayguard-enroll'),
      `${name} does not enroll`
    )
    t.notOk(
      all(result.pod).some(({ env }) => env?.some(variable => variable.name === 'RAY_USE_TLS')),
      `${name} has no TLS variable`
    )
    t.strictSame(result.findings, [], `${name} complies`)
    t.notOk(result.pod.metadata.annotations?.[reportAnnotation], `${name} needs no report`)
    t.strictSame(applied(pod, result.operations), result.pod, `${name}: the patch makes the pod`)
    t.strictSame(injected(result.pod).operations, [], `${name}: once`)
  }
  const compliant = submitterPod({
    ray: { securityContext: hardened },
    spec: { securityContext: { runAsNonRoot: true } }
  })
  t.strictSame(injected(compliant).operations, [], 'one that complies gets no patch at all')
  const wished = submitterPod({ annotations: { 'rayguard.dev/netrc-secret': 'netrc' } })
  t.equal(injected(wished).findings[0]?.id, 'AnnotationIgnored', 'a wish without effect is said')
})

t.test('a pod that is none of Ray’s is not touched', async t => {
  const pod: Pod = { metadata: {}, spec: { containers: [{ name: 'web' }] } }
  const result = inject(pod, injectionRequest({ podSecurity: 'enforce' }), settings)
  t.match(result, { allowed: true, kind: 'none', operations: [], findings: [{ id: 'NotRay' }] })
  const odd = headPod({ labels: { 'ray.io/node-type': 'Head' } })
  t.match(inject(odd, injectionRequest(), settings), {
    kind: 'none',
    operations: [],
    findings: [{ id: 'NodeTypeUnknown' }]
  })
})

t.test('attack 73: TLS by other means is left alone unless Rayguard’s is required', async t => {
  for (const [name, pod] of Object.entries(foreignTlsPods)) {
    const result = injected(pod)
    t.ok(
      result.findings.some(({ id }) => id === 'TlsByOtherMeans'),
      `${name}: it is said`
    )
    t.notOk(
      result.operations.some(({ path }) => /env|volume|initContainers\/0$/i.test(path)),
      `${name}: nothing but security and the report`
    )
    t.equal(codeOf(pod, { tls: 'required' }), 'TlsByOtherMeans', `${name}: refused where required`)
    t.strictSame(injected(applied(pod, result.operations)).operations, [], `${name}: once`)
  }
})

t.test('attack 73: opting out by variables is refused', async t => {
  const attempts: Record<string, EnvVar[]> = {
    'RAY_USE_TLS=0': [{ name: 'RAY_USE_TLS', value: '0' }],
    'RAY_USE_TLS without a value': [{ name: 'RAY_USE_TLS' }],
    'RAY_USE_TLS by reference': [
      { name: 'RAY_USE_TLS', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } }
    ],
    'one path': [{ name: 'RAY_TLS_CA_CERT', value: '/x' }],
    'the switch and two paths': [
      { name: 'RAY_USE_TLS', value: '1' },
      { name: 'RAY_TLS_SERVER_CERT', value: '/x' },
      { name: 'RAY_TLS_SERVER_KEY', value: '/x' }
    ],
    'three paths without the switch': [
      { name: 'RAY_TLS_SERVER_CERT', value: '/x' },
      { name: 'RAY_TLS_SERVER_KEY', value: '/x' },
      { name: 'RAY_TLS_CA_CERT', value: '/x' }
    ],
    'an earlier switch that is off': [
      { name: 'RAY_USE_TLS', value: '0' },
      { name: 'RAY_USE_TLS', value: '1' }
    ]
  }
  for (const [name, env] of Object.entries(attempts)) {
    for (const tls of ['tls', 'required'] as const) {
      t.equal(codeOf(headPod({ ray: { env } }), { tls }), 'TlsVariables', `${name} with ${tls}`)
    }
    t.equal(
      codeOf(headPod({ ray: { env } }), { tls: 'no-tls' }),
      undefined,
      `${name}: no TLS asked`
    )
  }
  const off = headPod()
  off.spec.containers.push(autoscaler({ env: [{ name: 'RAY_USE_TLS', value: 'false' }] }))
  t.equal(codeOf(off), 'TlsVariables', 'nor may the autoscaler alone')
  const volume = headPod({ spec: { volumes: [{ name: 'ray-tls', secret: { secretName: 'x' } }] } })
  volume.spec.initContainers = [{ name: 'wait-for-tls-ip-san' }, { name: 'ray-head-tls' }]
  t.equal(
    injected(volume).pod.spec.initContainers?.[0]?.name,
    'rayguard-enroll',
    'names are no TLS'
  )
})

t.test('a variable that has our value already is kept and not doubled', async t => {
  const pod = headPod({ ray: { env: [{ name: 'RAY_USE_TLS', value: '1' }] } })
  const env = injected(pod).pod.spec.containers[0]?.env ?? []
  t.equal(env.filter(({ name }) => name.startsWith('RAY_USE_TLS')).length, 1, 'once')
  t.equal(env.filter(({ name }) => name.startsWith('RAY_TLS_')).length, 3, 'the others are added')
})

t.test('attack 22: an annotation cannot opt out or pretend', async t => {
  const pretended = headPod({
    annotations: { [reportAnnotation]: '{"node":"head","tls":"rayguard"}' }
  })
  const result = injected(pretended)
  t.equal(
    result.pod.spec.initContainers?.[0]?.name,
    'rayguard-enroll',
    'the report is not believed'
  )
  t.match(result.operations.at(-1), { op: 'replace' }, 'and is written anew')
  for (const key of ['rayguard.dev/tls', 'rayguard.dev/inject', 'rayguard.dev/pod-security']) {
    t.equal(codeOf(headPod({ annotations: { [key]: 'disabled' } })), 'AnnotationUnknown', key)
  }
  for (const names of ['', 'nobody', 'ray-head,', 'rayguard-enroll']) {
    const pod = headPod({ annotations: { 'rayguard.dev/tls-containers': names } })
    t.equal(codeOf(pod), 'AnnotationInvalid', `tls-containers ${JSON.stringify(names)}`)
  }
  const stale = submitterPod({ annotations: { [reportAnnotation]: 'old' } })
  t.notOk(injected(stale).pod.metadata.annotations?.[reportAnnotation], 'a report of nothing goes')
  const mirror = headPod({ annotations: { 'kubernetes.io/config.mirror': 'x' } })
  t.equal(codeOf(mirror), 'MirrorPod', 'a mirror pod that no kubelet made')
  t.match(
    inject(mirror, injectionRequest({ fromKubelet: true }), settings),
    { allowed: true, kind: 'none', operations: [] },
    'a kubelet’s own is not touched'
  )
})

t.test('attack 23: names that are ours are refused when something else carries them', async t => {
  const volume = (volume: object) =>
    headPod({ spec: { volumes: [volume as NonNullable<Pod['spec']['volumes']>[number]] } })
  t.equal(
    codeOf(volume({ name: 'rayguard-tls', hostPath: { path: '/x' } })),
    'ReservedVolume',
    'a host path'
  )
  t.equal(
    codeOf(volume({ name: 'rayguard-tls', persistentVolumeClaim: {} })),
    'ReservedVolume',
    'a claim'
  )
  t.equal(codeOf(volume({ name: 'rayguard-token', secret: {} })), 'ReservedVolume', 'a Secret')
  t.equal(
    codeOf(
      volume({ name: 'rayguard-token', projected: { sources: [{ configMap: { name: 'x' } }] } })
    ),
    'ReservedVolume',
    'a projection of something else'
  )
  t.equal(
    codeOf(volume({ name: 'rayguard-no-api-token', configMap: {} })),
    'ReservedVolume',
    'a ConfigMap'
  )

  const ordinary = headPod()
  ordinary.spec.containers.push({ name: 'rayguard-enroll', command: ['rayguard', 'enroll'] })
  t.equal(codeOf(ordinary), 'ReservedContainer', 'an ordinary container')
  const init = (container: Partial<Container>) =>
    codeOf(headPod({ spec: { initContainers: [{ name: 'rayguard-enroll', ...container }] } }))
  t.equal(init({ image: 'evil', command: ['sh'] }), 'ReservedContainer', 'another program')
  t.equal(init({ image: settings.image, args: ['--x'] }), 'ReservedContainer', 'arguments')
  t.equal(
    init({ image: settings.image, restartPolicy: 'Always' }),
    'ReservedContainer',
    'a sidecar'
  )
  t.equal(
    init({
      image: settings.image,
      volumeMounts: [{ name: 'mine', mountPath: '/var/run/secrets/rayguard.dev' }]
    }),
    'MountConflict',
    'another token'
  )
})

t.test('attack 24: a mount that meets the certificate’s directory is refused', async t => {
  const paths = [
    '/etc/rayguard/tls',
    '/etc/rayguard/tls/',
    '/etc//rayguard/./tls/ca.crt',
    '/etc/rayguard',
    '/etc',
    '/',
    '/data/../etc/rayguard/tls',
    'etc/rayguard/tls/tls.key'
  ]
  for (const mountPath of paths) {
    const pod = headPod({ ray: { volumeMounts: [{ name: 'mine', mountPath }] } })
    t.equal(codeOf(pod), 'MountConflict', mountPath)
  }
  const fine = ['/etc/rayguard-tls', '/etc/ray/tls', '/etcetera', '/data/etc/rayguard/tls']
  for (const mountPath of fine) {
    const pod = headPod({ ray: { volumeMounts: [{ name: 'mine', mountPath }] } })
    t.equal(codeOf(pod), undefined, mountPath)
  }
  const subPath = headPod({
    ray: {
      volumeMounts: [
        { name: 'rayguard-tls', mountPath: '/etc/rayguard/tls', readOnly: true, subPath: 'a' }
      ]
    }
  })
  t.equal(codeOf(subPath), 'MountConflict', 'our volume by another path in it')
  const writable = headPod()
  writable.spec.containers.push({
    name: 'side',
    volumeMounts: [{ name: 'rayguard-tls', mountPath: '/keys' }]
  })
  t.equal(codeOf(writable), 'TlsVolumeWritable', 'another container that could write')
})

t.test('attack 25: ours runs first, whatever a pod’s author puts before it', async t => {
  const { pod } = injected(headPod({ spec: { initContainers: [{ name: 'evil' }] } }))
  t.strictSame(
    pod.spec.initContainers?.map(({ name }) => name),
    ['rayguard-enroll', 'evil'],
    'inserted at index 0'
  )
  const [ours, evil] = pod.spec.initContainers as [Container, Container]
  const swapped = { ...pod, spec: { ...pod.spec, initContainers: [evil, ours] } }
  const moved = injected(swapped)
  t.strictSame(
    moved.operations,
    [{ op: 'move', from: '/spec/initContainers/1', path: '/spec/initContainers/0' }],
    'moved there on a second pass'
  )
  const mesh = {
    ...pod,
    spec: {
      ...pod.spec,
      initContainers: [{ name: 'istio-init', ...hardenedContainer }, evil, ours]
    }
  }
  const kept = injected(mesh)
  t.strictSame(
    kept.pod.spec.initContainers?.map(({ name }) => name),
    ['istio-init', 'rayguard-enroll', 'evil'],
    'a mesh stays before it'
  )
  t.match(kept.findings, [{ id: 'MeshFirst', container: 'istio-init' }], 'and is said')
  t.strictSame(injected(kept.pod).operations, [], 'once')
})

const hardenedContainer = { securityContext: hardened }

t.test('attack 26: nobody else mounts the token', async t => {
  for (const readOnly of [true, false]) {
    const mount = { name: 'rayguard-token', mountPath: '/token', readOnly }
    t.equal(
      codeOf(headPod({ ray: { volumeMounts: [mount] } })),
      'TokenMounted',
      'the Ray container'
    )
    const pod = workerPod()
    pod.spec.initContainers?.push({ name: 'user-init', volumeMounts: [mount] })
    t.equal(codeOf(pod), 'TokenMounted', 'an init container')
  }
})

t.test('attack 57: the API token never gets into our container', async t => {
  const first = injected(headPod())
  const seen = defaulted(applied(headPod(), first.operations))
  const mounts = named(seen, 'rayguard-enroll').volumeMounts ?? []
  t.notOk(
    mounts.some(({ name }) => name.startsWith('kube-api-access')),
    'the ServiceAccount plugin finds its path taken'
  )
  t.ok(
    named(seen, 'ray-head').volumeMounts?.some(({ name }) => name.startsWith('kube-api-access')),
    'and mounts it elsewhere'
  )
})

t.test('attack 17: a pod on its node’s network gets no certificate', async t => {
  for (const pod of [
    headPod({ spec: { hostNetwork: true } }),
    workerPod({ spec: { hostNetwork: true } })
  ]) {
    t.equal(codeOf(pod), 'HostNetwork', 'refused')
    t.equal(codeOf(pod, { tls: 'required' }), 'HostNetwork', 'refused where required')
    t.equal(codeOf(pod, { tls: 'no-tls' }), undefined, 'no TLS asked')
  }
  t.equal(codeOf(headPod({ spec: { os: { name: 'windows' } } })), 'WindowsPod', 'nor on Windows')
  t.equal(
    codeOf(headPod({ spec: { nodeSelector: { 'kubernetes.io/os': 'windows' } } })),
    'WindowsPod',
    'by its nodes'
  )
})

t.test('attack 16: status of the request is never read', async t => {
  const forged = { ...headPod(), status: { podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }] } }
  const { pod, operations } = injected(forged)
  t.strictSame(operations, injected(headPod()).operations, 'the same patch')
  t.equal(pod.status, forged.status, 'left as it is')
})

t.test('attack 74: an older version of ours, and what others did, is brought to shape', async t => {
  const { pod } = injected(workerPod())
  const [ours, ...others] = pod.spec.initContainers as [Container, ...Container[]]
  const old: Container = {
    ...ours,
    image: 'registry.test/rayguard:0.0.9',
    command: ['/rayguard', 'enroll'],
    env: [
      { name: 'HTTPS_PROXY', value: 'http://proxy' },
      { name: 'RAYGUARD_SERVER_URL', value: 'https://old' },
      { name: 'RAYGUARD_KEY_GROUP', value: '1' }
    ],
    resources: { limits: { cpu: '10m', memory: '128Mi' } },
    volumeMounts: [
      { name: 'rayguard-tls', mountPath: '/etc/rayguard/tls', readOnly: true },
      { name: 'proxy-ca', mountPath: '/etc/ssl/proxy' }
    ],
    securityContext: { runAsUser: 0, privileged: false, seccompProfile: { type: 'Localhost' } }
  }
  const seen: Pod = {
    ...pod,
    spec: {
      ...pod.spec,
      initContainers: [old, ...others],
      volumes: [
        { name: 'rayguard-tls', emptyDir: {} },
        { name: 'rayguard-token' },
        { name: 'rayguard-no-api-token' }
      ]
    }
  }
  const result = injected(seen)
  const after = applied(seen, result.operations)
  t.strictSame(after, result.pod, 'the patch makes the pod')
  const now = named(after, 'rayguard-enroll')
  t.match(now, {
    image: settings.image,
    command: ['rayguard', 'enroll'],
    resources: ours.resources,
    securityContext: { ...ours.securityContext, privileged: false }
  })
  t.ok(
    now.env?.some(({ name }) => name === 'HTTPS_PROXY'),
    'another webhook’s variable stays'
  )
  t.ok(
    now.volumeMounts?.some(({ name }) => name === 'proxy-ca'),
    'and its mount'
  )
  t.strictSame(now.volumeMounts?.[0]?.readOnly, false, 'the agent can write its files')
  for (const variable of ours.env ?? []) {
    t.strictSame(
      now.env?.filter(({ name }) => name === variable.name),
      [variable],
      variable.name
    )
  }
  t.strictSame(
    [...(after.spec.volumes ?? [])].map(({ name }) => name).sort(),
    ['rayguard-no-api-token', 'rayguard-tls', 'rayguard-token'],
    'each volume once'
  )
  t.equal(after.spec.volumes?.[0]?.emptyDir?.medium, 'Memory', 'in memory again')
  t.strictSame(injected(after).operations, [], 'once')
})

t.test('what admission plugins decide about our container is left to them', async t => {
  const { pod } = injected(headPod())
  const ours = named(pod, 'rayguard-enroll')
  const changed = (changes: Partial<Container>) => ({
    ...pod,
    spec: { ...pod.spec, initContainers: [{ ...ours, ...changes }] }
  })
  t.strictSame(injected(changed({ imagePullPolicy: 'Always' })).operations, [], 'AlwaysPullImages')
  t.strictSame(
    injected(changed({ image: 'mirror.test/rayguard@sha256:aaaa' })).operations,
    [],
    'a registry mirror'
  )
  t.strictSame(
    injected(
      changed({
        resources: {
          limits: { cpu: '0.5', memory: '131072Ki' },
          requests: { cpu: '500m', memory: '134217728' }
        }
      })
    ).operations,
    [],
    'quantities in another spelling'
  )
  const later = {
    ...pod,
    spec: {
      ...pod.spec,
      containers: [...pod.spec.containers, { name: 'istio-proxy' }]
    }
  }
  t.strictSame(
    injected(later).operations.map(({ path }) => path),
    ['/spec/containers/1/securityContext'],
    'a sidecar that came later is tightened, and nothing else'
  )
})

t.test('the key is readable by Ray alone', async t => {
  const of = (pod: Pod) => {
    const { pod: result } = injected(pod)
    const enroll = named(result, 'rayguard-enroll')
    return {
      user: enroll.securityContext?.runAsUser,
      group: enroll.securityContext?.runAsGroup,
      keyGroup: enroll.env?.find(({ name }) => name === 'RAYGUARD_KEY_GROUP')?.value,
      supplemental: result.spec.securityContext?.supplementalGroups,
      fsGroup: result.spec.securityContext?.fsGroup
    }
  }
  const none = { supplemental: undefined, fsGroup: undefined }
  t.strictSame(
    of(workerPod({ ray: { securityContext: { runAsUser: 1000 } } })),
    { user: 1000, group: 65532, keyGroup: undefined, ...none },
    'one user of all containers: 0400'
  )
  t.strictSame(
    of(headPod({ spec: { securityContext: { runAsUser: 1000, fsGroup: 3 } } })),
    { user: 1000, group: 65532, keyGroup: undefined, supplemental: undefined, fsGroup: 3 },
    'the pod’s user'
  )
  const split = headPod({ ray: { securityContext: { runAsUser: 1000 } } })
  split.spec.containers.push(autoscaler())
  t.strictSame(
    of(split),
    { user: 65532, group: 65532, keyGroup: '65532', supplemental: [65532], fsGroup: undefined },
    'not where one container’s user is unknown'
  )
  t.strictSame(
    of(headPod({ ray: { securityContext: { runAsUser: 0 } } })),
    { user: 65532, group: 65532, keyGroup: '65532', supplemental: [65532], fsGroup: undefined },
    'never as root'
  )
  t.strictSame(
    of(headPod({ spec: { securityContext: { fsGroup: 2000, supplementalGroups: [5] } } })),
    { user: 65532, group: 65532, keyGroup: '2000', supplemental: [5], fsGroup: 2000 },
    'the pod’s own fsGroup'
  )
  t.strictSame(
    of(headPod({ spec: { securityContext: { supplementalGroups: [5] } } })),
    { user: 65532, group: 65532, keyGroup: '65532', supplemental: [5, 65532], fsGroup: undefined },
    'one more group, and never a new fsGroup'
  )
  const { pod } = injected(workerPod())
  const fixed = structuredClone(pod)
  for (const container of all(fixed)) {
    container.securityContext = { ...container.securityContext, runAsUser: 1000 }
  }
  const env = named(injected(fixed).pod, 'rayguard-enroll').env
  t.notOk(
    env?.some(({ name }) => name === 'RAYGUARD_KEY_GROUP'),
    'a group that is left over goes'
  )
})

t.test('a Secret with a .netrc is mounted where Ray looks for it', async t => {
  const pod = workerPod({ annotations: { 'rayguard.dev/netrc-secret': 'team.netrc' } })
  const result = injected(pod)
  const ray = named(result.pod, 'ray-worker')
  t.strictSame(ray.env?.at(-1), { name: 'NETRC', value: '/etc/rayguard/netrc/.netrc' }, 'NETRC')
  t.strictSame(
    ray.volumeMounts?.at(-1),
    { name: 'rayguard-netrc', mountPath: '/etc/rayguard/netrc', readOnly: true },
    'read-only'
  )
  t.strictSame(
    result.pod.spec.volumes?.at(-1)?.secret,
    {
      secretName: 'team.netrc',
      defaultMode: 0o444,
      items: [{ key: '.netrc', path: '.netrc' }]
    },
    'that one key of the Secret'
  )
  t.notOk(
    named(result.pod, 'wait-gcs-ready').volumeMounts?.some(({ name }) => name === 'rayguard-netrc'),
    'the Ray container alone'
  )
  t.strictSame(injected(defaulted(applied(pod, result.operations))).operations, [], 'once')
  t.equal(injected(pod, { tls: 'no-tls' }).pod.spec.volumes?.length, 2, 'also without TLS')

  const annotations = { 'rayguard.dev/netrc-secret': 'netrc' }
  t.equal(
    codeOf(headPod({ annotations, ray: { env: [{ name: 'NETRC', value: '/x' }] } })),
    'NetrcVariable',
    'another NETRC'
  )
  const volumes = [{ name: 'rayguard-netrc', secret: { secretName: 'other' } }]
  t.equal(codeOf(headPod({ annotations, spec: { volumes } })), 'ReservedVolume', 'another Secret')
  const volumeMounts = [{ name: 'mine', mountPath: '/etc/rayguard/netrc/x' }]
  t.equal(codeOf(headPod({ annotations, ray: { volumeMounts } })), 'MountConflict', 'a mount there')
  for (const secret of ['', '../x', 'A', 'a'.repeat(254), 'a b', '-a', 'a..b']) {
    const odd = headPod({ annotations: { 'rayguard.dev/netrc-secret': secret } })
    t.equal(codeOf(odd), 'AnnotationInvalid', JSON.stringify(secret.slice(0, 10)))
  }
})

t.test('modes of Pod Security', async t => {
  const root = headPod({ ray: { securityContext: { runAsUser: 0 } } })
  const enforced = inject(root, injectionRequest({ podSecurity: 'enforce' }), settings)
  t.match(enforced, { allowed: false, code: 'PodSecurity', kind: 'head' }, 'refused')
  if (!enforced.allowed) {
    t.match(enforced.reason, /runAsUser \(ray-head\)/, 'names check and container')
    t.match(
      enforced.reason,
      /spec\.headGroupSpec\.template\.spec\.containers\[0\]/,
      'and the place'
    )
  }
  for (const podSecurity of ['warn', 'audit'] as const) {
    const result = injected(root, { podSecurity })
    t.ok(
      result.findings.some(({ id }) => id === 'runAsUser'),
      `${podSecurity} admits and reports`
    )
    t.match(result.pod.metadata.annotations?.[reportAnnotation], /runAsUser/, 'also on the pod')
  }
  const off = injected(root, { podSecurity: 'off' })
  t.strictSame(off.findings, [], 'off does not judge')
  t.notOk(off.pod.spec.securityContext?.seccompProfile, 'and sets nothing')
  t.equal(codeOf(headPod(), { podSecurity: 'enforce' }), undefined, 'an ordinary pod passes')
  t.strictSame(
    injected(headPod(), { podSecurity: 'off', tls: 'no-tls' }).operations,
    [],
    'nothing asked, nothing done'
  )
  const sudo = injected(headPod({ ray: { args: ['sudo apt install x'] } }))
  t.match(sudo.findings, [{ kind: 'notice', id: 'Sudo', container: 'ray-head' }], 'sudo is said')
  const shared = injected(headPod({ spec: { shareProcessNamespace: true } }))
  t.match(shared.findings, [{ id: 'SharedProcesses' }], 'shared processes are said')
})

t.test('what is overwritten or may not start is said once, and not in the report', async t => {
  const tightened = headPod({ ray: { securityContext: { runAsNonRoot: false, runAsUser: 7 } } })
  const first = injected(tightened)
  t.match(first.findings, [{ kind: 'change', id: 'Tightened', container: 'ray-head' }], 'said')
  t.equal(named(first.pod, 'ray-head').securityContext?.runAsNonRoot, true, 'and done')
  t.notMatch(first.pod.metadata.annotations?.[reportAnnotation], /Tightened/, 'not in the report')
  t.strictSame(injected(first.pod).operations, [], 'a second pass has nothing to do')
  t.strictSame(injected(first.pod).findings, [], 'nor to say')
  const foreign = injected(headPod({ ray: { image: 'registry.test/own:1' } }))
  t.match(foreign.findings, [{ kind: 'change', id: 'UnknownUser', container: 'ray-head' }])
  const hook = { postStart: { exec: { command: ['sh', '-c', 'sudo wget x'] } } }
  t.match(injected(headPod({ ray: { lifecycle: hook } })).findings, [{ id: 'Sudo' }], 'in a hook')
  const nodeSelector = { 'kubernetes.io/os': 'windows' }
  t.ok(
    injected(submitterPod({ spec: { nodeSelector } })).findings.some(
      ({ id }) => id === 'WindowsNodes'
    ),
    'Windows by its nodes alone'
  )
})

t.test('the user of a known image gets the key', async t => {
  const known = { ...settings, knownImages: [{ match: 'rayproject/ray*', runAsUser: 1000 }] }
  const of = (podSecurity: 'warn' | 'off') => {
    const result = inject(workerPod(), injectionRequest({ podSecurity }), known)
    if (!result.allowed) throw new Error(result.reason)
    return result.pod
  }
  const pod = of('warn')
  for (const { name, securityContext } of all(pod)) {
    t.equal(securityContext?.runAsUser, 1000, `${name} has the user`)
  }
  t.equal(pod.spec.securityContext?.supplementalGroups, undefined, 'no group is needed')
  t.strictSame(
    inject(pod, injectionRequest(), known),
    { ...inject(pod, injectionRequest(), known), operations: [] },
    'once'
  )
  t.equal(named(of('off'), 'ray-worker').securityContext, undefined, 'not in the mode off')
})

t.test('an ephemeral container answers for what it inherits', async t => {
  const running = headPod({
    spec: {
      hostNetwork: true,
      securityContext: { seccompProfile: { type: 'Unconfined' } },
      ephemeralContainers: [{ name: 'debug' }]
    }
  })
  const result = injected(running, { subresource: 'ephemeralcontainers', oldPod: headPod() })
  const violations = result.findings.filter(({ kind }) => kind === 'violation')
  t.ok(
    violations.some(({ id }) => id === 'seccompProfile_restricted'),
    'the profile of the pod'
  )
  t.ok(
    violations.every(({ container }) => container === 'debug'),
    'and for nothing else of the pod'
  )
})

t.test('attack 28: an ephemeral container is tightened and gets no identity', async t => {
  const running = injected(headPod()).pod
  const debug = (container: Partial<Container>, old: Container[] = []): [Pod, Pod] => [
    {
      ...running,
      spec: {
        ...running.spec,
        ephemeralContainers: [...old, { name: 'debugger', image: 'busybox', ...container }]
      }
    },
    { ...running, spec: { ...running.spec, ephemeralContainers: old } }
  ]
  const request = (oldPod: Pod, changes: Partial<InjectionRequest> = {}) => ({
    subresource: 'ephemeralcontainers' as const,
    oldPod,
    ...changes
  })
  const [pod, old] = debug({}, [{ name: 'earlier' }])
  const result = injected(pod, request(old))
  t.strictSame(
    result.operations,
    [
      {
        op: 'add',
        path: '/spec/ephemeralContainers/1/securityContext',
        value: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
      }
    ],
    'only the new one, only what the pod lacks'
  )
  const plain: Pod = {
    ...headPod(),
    spec: { ...headPod().spec, ephemeralContainers: [{ name: 'd' }] }
  }
  const whole = injected(plain, request(headPod()))
  t.strictSame(whole.pod.spec.ephemeralContainers?.[0]?.securityContext, hardened, 'all four')
  t.equal(whole.operations.length, 1, 'and nothing else of the pod')
  t.strictSame(injected(plain, request(headPod(), { podSecurity: 'off' })).operations, [], 'off')
  for (const [name, code] of [
    ['rayguard-tls', 'MountConflict'],
    ['rayguard-token', 'TokenMounted']
  ] as const) {
    const volumeMounts = [{ name, mountPath: '/stolen', readOnly: true }]
    const [thief, before] = debug({ volumeMounts })
    const modes = { podSecurity: 'off', tls: 'no-tls' } as const
    t.equal(codeOf(thief, request(before, modes)), code, `${name} in any mode`)
  }
  const [profiler, before] = debug({
    securityContext: { capabilities: { add: ['SYS_PTRACE'] } }
  })
  const enforce = { podSecurity: 'enforce' } as const
  t.equal(codeOf(profiler, request(before, enforce)), 'PodSecurity', 'enforce refuses it')
  t.match(injected(profiler, request(before)).findings, [{}, {}], 'warn says so')
  t.equal(codeOf(pod, request(old, enforce)), undefined, 'what is there already is not judged')
  t.equal(codeOf(pod, { subresource: 'ephemeralcontainers' }), undefined, 'without an old pod')
})

t.test('attack 36: odd shapes are refused with their place, and never crash', async t => {
  const odd: Record<string, unknown> = {
    'no pod': null,
    'a list': [],
    'no metadata': { spec: { containers: [{ name: 'a' }] } },
    'no spec': { metadata: {} },
    'no containers': { metadata: {}, spec: { containers: [] } },
    'containers of another type': { metadata: {}, spec: { containers: { length: 1 } } },
    'a null container': { metadata: {}, spec: { containers: [null] } },
    'a container without a name': { metadata: {}, spec: { containers: [{}] } },
    'two of one name': { metadata: {}, spec: { containers: [{ name: 'a' }, { name: 'a' }] } },
    'labels that are numbers': {
      metadata: { labels: { a: 1 } },
      spec: { containers: [{ name: 'a' }] }
    },
    'owners that are none': {
      metadata: { ownerReferences: {} },
      spec: { containers: [{ name: 'a' }] }
    },
    'labels that are a list': { metadata: { labels: [] }, spec: { containers: [{ name: 'a' }] } }
  }
  const container: Record<string, unknown> = {
    env: [{ name: 'A', value: 1 }],
    args: 'x',
    command: [1],
    image: 5,
    lifecycle: { postStart: { exec: { command: 'sudo' } } },
    ports: [1],
    volumeMounts: [{ name: 'x' }],
    resources: { limits: 1 },
    securityContext: []
  }
  for (const [field, value] of Object.entries(container)) {
    odd[`container ${field}`] = {
      metadata: {},
      spec: { containers: [{ name: 'a', [field]: value }] }
    }
  }
  const security = {
    'a profile that is text': { seccompProfile: 'RuntimeDefault' },
    'a profile of another type': { seccompProfile: { type: 1 } },
    'capabilities that are text': { capabilities: 'ALL' },
    'a drop that is text': { capabilities: { drop: 'ALL' } }
  }
  for (const [name, securityContext] of Object.entries(security)) {
    odd[name] = { metadata: {}, spec: { containers: [{ name: 'a', securityContext }] } }
  }
  const spec: Record<string, unknown> = {
    volumes: [{ name: 'x', projected: { sources: [1] } }],
    initContainers: 'x',
    imagePullSecrets: [1],
    securityContext: { supplementalGroups: ['1'] },
    nodeSelector: { a: 1 },
    os: 'windows'
  }
  for (const [field, value] of Object.entries(spec)) {
    odd[`spec ${field}`] = { metadata: {}, spec: { containers: [{ name: 'a' }], [field]: value } }
  }
  for (const [name, pod] of Object.entries(odd)) {
    t.equal(codeOf(pod as Pod), 'PodMalformed', name)
  }

  const many: Container[] = Array.from({ length: 100_000 }, (_, index) => ({ name: `c${index}` }))
  t.equal(codeOf(headPod({ spec: { containers: many } })), 'PodTooLarge', '100 000 containers')
  const web: Pod = { metadata: {}, spec: { containers: many } }
  t.equal(codeOf(web), undefined, 'a pod that is none of Ray’s is not refused for its size')
  let deep: unknown = 'x'
  for (let depth = 0; depth < 100_000; depth += 1) deep = [deep]
  const nestedPod = headPod({ spec: { affinity: deep } as Partial<Pod['spec']> })
  t.equal(codeOf(nestedPod), undefined, 'deep nesting where nothing is read')
})

t.test(
  'attacks 37, 38: for any pod: the patch makes the returned pod, once, and takes nothing away',
  async t => {
    const request = fc.record({
      podSecurity: fc.constantFrom(...podSecurityModes),
      tls: fc.constantFrom(...tlsModes)
    })
    const kinds = new Map<string, number>()
    fc.assert(
      fc.property(arbitraryPod, request, (pod, modes) => {
        const before = JSON.stringify(pod)
        const result: Injection = inject(pod, injectionRequest(modes), settings)
        if (JSON.stringify(pod) !== before) throw new Error('the pod that came in was changed')
        const outcome = result.allowed ? 'allowed' : result.code
        kinds.set(outcome, (kinds.get(outcome) ?? 0) + 1)
        if (!result.allowed) return
        const after = applied(pod, result.operations)
        same(after, result.pod, 'the patch does not make the returned pod')
        contained(pod, after, '')
        const again = inject(after, injectionRequest(modes), settings)
        if (!again.allowed) throw new Error(`the second pass refuses: ${again.reason}`)
        same(again.operations, [], 'the second pass changes something')
        const seen = inject(defaulted(after), injectionRequest(modes), settings)
        same(seen.allowed && seen.operations, [], 'the pass after the API server changes something')
      }),
      { numRuns: 1500 }
    )
    t.ok((kinds.get('allowed') ?? 0) > 300, `enough pods are admitted: ${[...kinds].join('; ')}`)
  }
)

function same(found: unknown, wanted: unknown, message: string): void {
  const [a, b] = [JSON.parse(JSON.stringify(found)), JSON.parse(JSON.stringify(wanted))] as const
  if (!isDeepStrictEqual(a, b)) {
    throw new Error(`${message}: ${JSON.stringify(a)} instead of ${JSON.stringify(b)}`)
  }
}

/** Every leaf of `before` is in `after`; lists may have become longer. */
function contained(before: unknown, after: unknown, path: string): void {
  if (before === null || before === undefined || path.endsWith(reportAnnotation)) return
  if (isDead(before, after, path)) return
  if (typeof before !== 'object') {
    if (before !== after) throw new Error(`${path} was ${String(before)}, is ${String(after)}`)
    return
  }
  if (Array.isArray(before)) {
    if (!Array.isArray(after)) throw new Error(`${path} is no list any more`)
    let next = 0
    for (const [index, item] of before.entries()) {
      while (next < after.length && !matches(item, after[next], `${path}/${index}`)) next += 1
      if (next >= after.length) throw new Error(`${path}/${index} is gone`)
      next += 1
    }
    return
  }
  for (const key of Object.keys(before)) {
    const [one, other] = [before, after] as [Record<string, unknown>, Record<string, unknown>]
    if (isDead(one[key], other[key], `${path}/${key}`)) continue
    if (!Object.hasOwn(other, key)) throw new Error(`${path}/${key} is gone`)
    contained(one[key], other[key], `${path}/${key}`)
  }
}

/** Values without effect, which are tightened; that they have none is tested with the decision table. */
function isDead(before: unknown, after: unknown, path: string): boolean {
  if (path.endsWith('/securityContext/runAsNonRoot')) return before === false && after === true
  if (path === '/spec/securityContext/runAsUser') return before === 0 && after === undefined
  const isSeccomp = path === '/spec/securityContext/seccompProfile/type'
  return isSeccomp && before === 'Unconfined' && after === 'RuntimeDefault'
}

function matches(before: unknown, after: unknown, path: string): boolean {
  try {
    contained(before, after, path)
    return true
  } catch {
    return false
  }
}

t.test(
  'a list of containers in an annotation is bounded, and only heads and workers need them',
  async t => {
    const annotations = { 'rayguard.dev/tls-containers': 'ray-head,'.repeat(10_000) }
    t.equal(codeOf(headPod({ annotations })), 'AnnotationInvalid', 'a list longer than any pod')
    const twice = { 'rayguard.dev/tls-containers': 'ray-head, ray-head' }
    t.equal(codeOf(headPod({ annotations: twice })), undefined, 'a name may stand twice')
    const cleanup = structuredClone(jobPods['Redis cleanup'] as Pod)
    cleanup.metadata.annotations = { 'rayguard.dev/tls-containers': 'driver' }
    t.equal(
      codeOf(cleanup),
      undefined,
      'a Redis cleanup has the annotations of a head, not its parts'
    )
  }
)

t.test('labels that are nearly KubeRay’s are no way out of TLS or Pod Security', async t => {
  const privileged = { securityContext: { privileged: true } }
  const odd = headPod({ labels: { 'ray.io/node-type': 'Head' }, ray: privileged })
  t.equal(codeOf(odd, { tls: 'required' }), 'NodeTypeUnknown', 'refused where TLS is required')
  t.equal(codeOf(odd, { podSecurity: 'enforce' }), 'PodSecurity', 'and judged as any other pod')
  const plain = injected(headPod({ labels: { 'ray.io/node-type': 'Head' } }))
  t.ok(plain.operations.length > 0, 'tightened')
  t.equal(plain.pod.spec.initContainers, undefined, 'but never enrolled')
  t.ok(
    plain.findings.some(({ id }) => id === 'NodeTypeUnknown'),
    'and said'
  )
  const headAsCleanup = headPod({ labels: { 'ray.io/node-type': 'redis-cleanup' } })
  t.equal(codeOf(headAsCleanup, { tls: 'required' }), 'NodeTypeUnknown', 'not the pod of a Job')
  t.equal(codeOf(jobPods['Redis cleanup'] as Pod, { tls: 'required' }), undefined, 'the real one')
})

t.test('attack 25: the enroll container runs nothing but our code', async t => {
  const ours = injected(workerPod()).pod.spec.initContainers?.[0] as Container
  const changed = (changes: Partial<Container>) =>
    codeOf(workerPod({ spec: { initContainers: [{ ...ours, ...changes }] } }))
  const variables = (...env: EnvVar[]) => ({ env: [...(ours.env ?? []), ...env] })
  t.equal(changed({}), undefined, 'as it was injected')
  t.equal(changed(variables({ name: 'HTTP_PROXY', value: 'x' })), undefined, 'plain variables stay')
  for (const name of ['NODE_OPTIONS', 'LD_PRELOAD', 'PATH', 'RAYGUARD_SERVER_CA']) {
    t.equal(changed(variables({ name, value: 'x' })), 'ReservedContainer', name)
  }
  const reasonOf = (name: string) => {
    const initContainers = [{ ...ours, ...variables({ name, value: 'x' }) }]
    return inject(workerPod({ spec: { initContainers } }), injectionRequest(), settings)
  }
  t.match(reasonOf('RAYGUARD_POD_UID'), { reason: /"RAYGUARD_POD_UID" twice/ })
  t.match(reasonOf('RAYGUARD_FOO'), { reason: /"RAYGUARD_FOO", which is none of/ }, 'said as it is')
  t.equal(changed({ envFrom: [{}] }), 'ReservedContainer', 'variables from elsewhere')
  t.equal(changed({ volumeDevices: [{}] }), 'ReservedContainer', 'a device')
  const securityContext = { ...ours.securityContext, capabilities: { add: ['NET_ADMIN'] } }
  t.equal(changed({ securityContext }), 'ReservedContainer', 'a capability')
})

t.test('attacks 25, 26: no mount puts other code in the place of our program', async t => {
  const { pod } = injected(workerPod())
  const ours = pod.spec.initContainers?.[0] as Container
  const mounting = (...mounts: VolumeMount[]): Pod => {
    const volumeMounts = [...(ours.volumeMounts ?? []), ...mounts]
    const others = pod.spec.initContainers?.slice(1) ?? []
    return { ...pod, spec: { ...pod.spec, initContainers: [{ ...ours, volumeMounts }, ...others] } }
  }
  for (const mountPath of overProgram) {
    t.equal(codeOf(mounting({ name: 'evil', mountPath })), 'MountConflict', mountPath)
  }
  const file = { name: 'evil', mountPath: '/opt/rayguard/rayguard.js', subPath: 'rayguard.js' }
  t.equal(codeOf(mounting(file)), 'MountConflict', 'a single file')
  const again = { name: 'rayguard-tls', mountPath: '/usr/local/bin' }
  t.equal(codeOf(mounting(again)), 'MountConflict', 'a volume of ours')
  const linked = ['/links/x/rayguard', '/links'].map(mountPath => ({ name: 'evil', mountPath }))
  t.equal(codeOf(mounting(...linked)), 'MountConflict', 'one that may lead there by a link')

  const fine = mounting(...besideProgram.map(mountPath => ({ name: 'platform', mountPath })))
  t.strictSame(injected(fine).operations, [], 'what platforms mount elsewhere stays as it is')
})

t.test('attack 28: no ephemeral container gets at our volumes by a changed label', async t => {
  const pod = structuredClone(injected(workerPod()).pod)
  pod.metadata.labels = { ...pod.metadata.labels, 'ray.io/node-type': 'x' }
  const debug = {
    name: 'debug',
    volumeMounts: [{ name: 'rayguard-tls', mountPath: '/key', readOnly: true }]
  }
  const changed = { ...pod, spec: { ...pod.spec, ephemeralContainers: [debug] } }
  const refused = codeOf(changed, { subresource: 'ephemeralcontainers', oldPod: pod })
  t.ok(refused, `refused with ${refused}`)
})
