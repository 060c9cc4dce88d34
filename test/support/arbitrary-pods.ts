/**
 * Pods as property tests make them: valid for the API server or not, with members absent, null, empty or hostile.
 */
import fc from 'fast-check'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'

const hostileKey = fc.constantFrom(
  '__proto__',
  'constructor',
  'toString',
  '',
  '~',
  '/',
  '~1',
  'a/b~c',
  'ray.io/Ünï',
  '0',
  '-'
)

/** `Object.fromEntries` makes own members of any name, as JSON.parse does. */
export const textMap = fc
  .array(fc.tuple(fc.oneof(hostileKey, fc.string({ maxLength: 12 })), fc.string({ maxLength: 12 })))
  .map(entries => Object.fromEntries(entries) as Record<string, string>)

/** Absent, null, or a value. */
function maybe<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null | undefined> {
  return fc.oneof(
    { weight: 1, arbitrary: fc.constantFrom(null, undefined) },
    { weight: 3, arbitrary: value }
  )
}

const user = fc.constantFrom(0, 1, 1000, 65532)

const capability = fc.constantFrom(
  'ALL',
  'all',
  'NET_RAW',
  'NET_BIND_SERVICE',
  'SYS_ADMIN',
  'CAP_SYS_ADMIN'
)

const containerSecurity = fc.record({
  runAsUser: maybe(user),
  runAsNonRoot: maybe(fc.boolean()),
  privileged: maybe(fc.boolean()),
  allowPrivilegeEscalation: maybe(fc.boolean()),
  readOnlyRootFilesystem: maybe(fc.boolean()),
  capabilities: maybe(
    fc.record({
      add: maybe(fc.array(capability, { maxLength: 3 })),
      drop: maybe(fc.array(capability, { maxLength: 3 }))
    })
  ),
  seccompProfile: maybe(
    fc.record({ type: fc.constantFrom('RuntimeDefault', 'Localhost', 'Unconfined') })
  )
})

const podSecurity = fc.record({
  runAsUser: maybe(user),
  runAsNonRoot: maybe(fc.boolean()),
  fsGroup: maybe(user),
  supplementalGroups: maybe(fc.array(user, { maxLength: 3 })),
  seccompProfile: maybe(
    fc.record({ type: fc.constantFrom('RuntimeDefault', 'Localhost', 'Unconfined') })
  )
})

const variable = fc.oneof(
  fc.record({ name: fc.string({ maxLength: 8 }), value: maybe(fc.string({ maxLength: 8 })) }),
  fc.record({
    name: fc.constantFrom('RAY_ADDRESS', 'FQ_RAY_IP', 'A'),
    valueFrom: fc.constantFrom(
      { fieldRef: { fieldPath: 'status.podIP' } },
      { secretKeyRef: { name: 's', key: 'k' } }
    )
  }),
  fc.constantFrom(
    { name: 'RAY_USE_TLS', value: '1' },
    { name: 'RAY_USE_TLS', value: '0' },
    { name: 'RAY_TLS_CA_CERT', value: '/etc/rayguard/tls/ca.crt' }
  )
)

const mount = fc.record({
  name: fc.constantFrom('shared-mem', 'data', 'rayguard-tls'),
  mountPath: fc.constantFrom('/dev/shm', '/data', '/tmp/ray', '/etc/rayguard', '/etc/rayguard/tls'),
  readOnly: maybe(fc.boolean())
})

const container = fc.record({
  image: fc.constant('rayproject/ray'),
  command: maybe(fc.array(fc.constantFrom('sudo', 'sleep'), { maxLength: 2 })),
  env: maybe(fc.array(variable, { maxLength: 4 })),
  volumeMounts: maybe(
    fc.oneof(
      { weight: 4, arbitrary: fc.constant([{ name: 'data', mountPath: '/data' }]) },
      { weight: 1, arbitrary: fc.array(mount, { maxLength: 2 }) }
    )
  ),
  securityContext: maybe(containerSecurity)
})

const names = ['wait-gcs-ready', 'user-init', 'istio-init', 'ray', 'autoscaler', 'side/car~1', 'b']

export const arbitraryPod: fc.Arbitrary<Pod> = fc
  .record({
    labels: textMap,
    node: fc.constantFrom('head', 'worker', 'redis-cleanup'),
    annotations: maybe(textMap),
    inits: maybe(fc.subarray(names.slice(0, 3))),
    containers: fc.subarray(names.slice(3), { minLength: 1 }),
    parts: fc.array(container, { minLength: 8, maxLength: 8 }),
    volumes: maybe(
      fc.constantFrom(
        [],
        [{ name: 'data', emptyDir: {} }],
        [{ name: 'data', hostPath: { path: '/' } }]
      )
    ),
    securityContext: maybe(podSecurity),
    imagePullSecrets: maybe(fc.constantFrom([], [{ name: 'pull' }])),
    hostNetwork: fc.constantFrom(undefined, undefined, undefined, true),
    hostUsers: fc.constantFrom(undefined, undefined, false),
    os: fc.constantFrom(undefined, undefined, undefined, { name: 'windows' })
  })
  .map(({ labels, node, annotations, inits, containers, parts, ...rest }) => {
    let next = 0
    const take = (name: string) => ({ name, ...parts[next++ % parts.length] }) as Container
    return withoutUndefined({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        labels: { ...labels, 'ray.io/cluster': 'demo', 'ray.io/node-type': node },
        annotations
      },
      spec: {
        ...rest,
        initContainers: inits?.map(take) ?? inits,
        containers: containers.map(take)
      }
    }) as Pod
  })

/** JSON has no undefined; own members called `__proto__` stay. */
function withoutUndefined(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown
}
