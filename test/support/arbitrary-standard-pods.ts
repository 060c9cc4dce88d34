/**
 * Pods for the Pod Security Standard: every member that a check reads, absent, null, good and bad, in each kind of container.
 */
import fc from 'fast-check'
import type { Pod } from '../../src/kubernetes/objects.ts'

/** Mostly absent, so that one check's findings do not always hide among those of all others. */
function rarely<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null | undefined> {
  return fc.oneof(
    { weight: 5, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.constant(null) },
    { weight: 3, arbitrary: value }
  )
}

const profile = fc.record({ type: fc.constantFrom('RuntimeDefault', 'Localhost', 'Unconfined') })

const both = {
  runAsUser: rarely(fc.constantFrom(0, 1, 1000)),
  runAsNonRoot: rarely(fc.boolean()),
  seccompProfile: rarely(profile),
  appArmorProfile: rarely(profile),
  seLinuxOptions: rarely(
    fc.record({
      type: rarely(fc.constantFrom('', 'container_t', 'container_engine_t', 'spc_t', 'x')),
      user: rarely(fc.constantFrom('', 'system_u')),
      role: rarely(fc.constantFrom('', 'system_r')),
      level: rarely(fc.constant('s0:c1,c2'))
    })
  ),
  windowsOptions: rarely(fc.record({ hostProcess: rarely(fc.boolean()) }))
}

const capability = fc.constantFrom(
  'ALL',
  'all',
  'CHOWN',
  'CAP_CHOWN',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SYS_PTRACE',
  'CAP_SYS_ADMIN',
  'Ünï',
  '\u{1f600}',
  '\uff21'
)
const capabilityList = rarely(fc.array(capability, { maxLength: 4 }))

const containerContext = fc.record({
  ...both,
  privileged: rarely(fc.boolean()),
  allowPrivilegeEscalation: rarely(fc.boolean()),
  readOnlyRootFilesystem: rarely(fc.boolean()),
  procMount: rarely(fc.constantFrom('Default', 'Unmasked', 'Other')),
  capabilities: rarely(fc.record({ add: capabilityList, drop: capabilityList }))
})

const host = fc.record({
  host: rarely(fc.constantFrom('', '127.0.0.1', '::1', 'localhost', 'example.org'))
})
const handler = rarely(
  fc.oneof(
    fc.record({ httpGet: host }),
    fc.record({ tcpSocket: host }),
    fc.record({ exec: fc.record({ command: fc.constant(['sudo', 'true']) }) })
  )
)

const container = fc.record({
  image: fc.constantFrom('rayproject/ray:2.58.0', 'registry.example/other'),
  ports: rarely(
    fc.array(
      fc.record({
        containerPort: fc.constantFrom(80, 8265),
        hostPort: rarely(fc.constantFrom(0, 80, 9, 8265))
      }),
      { maxLength: 3 }
    )
  ),
  livenessProbe: handler,
  readinessProbe: handler,
  startupProbe: handler,
  lifecycle: rarely(fc.record({ postStart: handler, preStop: handler })),
  command: rarely(fc.array(fc.constantFrom('sudo', 'ray', 'start'), { maxLength: 3 })),
  securityContext: fc.oneof(
    { weight: 1, arbitrary: rarely(containerContext) },
    { weight: 1, arbitrary: containerContext },
    // Complete but for what the test adds elsewhere.
    {
      weight: 1,
      arbitrary: fc.constant({
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' }
      })
    }
  )
})

const volumeTypes = [
  'configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret hostPath',
  'gcePersistentDisk awsElasticBlockStore gitRepo nfs iscsi glusterfs rbd flexVolume cinder cephfs flocker fc',
  'azureFile vsphereVolume quobyte azureDisk photonPersistentDisk portworxVolume scaleIO storageos'
].flatMap(line => line.split(' '))
const volume = fc.oneof(
  { weight: 1, arbitrary: fc.constant({}) },
  { weight: 6, arbitrary: fc.constantFrom(...volumeTypes).map(type => ({ [type]: {} })) },
  { weight: 1, arbitrary: fc.constantFrom(...volumeTypes).map(type => ({ [type]: null })) }
)

const sysctl = fc.constantFrom(
  'kernel.shm_rmid_forced',
  'kernel.msgmax',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_wmem',
  'net.ipv4.tcp_notsent_lowat',
  'net.core.somaxconn'
)

const podContext = fc.record({
  ...both,
  fsGroup: rarely(fc.constant(100)),
  sysctls: rarely(fc.array(fc.record({ name: sysctl, value: fc.constant('1') }), { maxLength: 3 }))
})

const names = ['i0', 'i1', 'c0', 'c1', 'c2', 'e0', 'z', 'a']
const annotation = fc.tuple(
  fc.constantFrom(
    ...names.map(name => `container.apparmor.security.beta.kubernetes.io/${name}`),
    ...names.map(name => `container.seccomp.security.alpha.kubernetes.io/${name}`),
    'seccomp.security.alpha.kubernetes.io/pod',
    'other'
  ),
  fc.constantFrom(
    '',
    'runtime/default',
    'docker/default',
    'localhost/x',
    'unconfined',
    'a"b\\\n\x01\x7fé\u200b\u{e0001}\u{1f600}'
  )
)

export const arbitraryStandardPod: fc.Arbitrary<Pod> = fc
  .record({
    annotations: rarely(fc.array(annotation, { maxLength: 4 })),
    counts: fc.tuple(
      fc.integer({ min: 0, max: 2 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 1 })
    ),
    containers: fc.array(container, { minLength: 6, maxLength: 6 }),
    volumes: rarely(fc.array(volume, { maxLength: 3 })),
    securityContext: rarely(podContext),
    hostNetwork: rarely(fc.boolean()),
    hostPID: rarely(fc.boolean()),
    hostIPC: rarely(fc.boolean()),
    hostUsers: rarely(fc.boolean()),
    os: rarely(fc.constantFrom({ name: 'windows' }, { name: 'linux' })),
    reversed: fc.boolean()
  })
  .map(({ annotations, counts: [inits, ordinary, ephemeral], containers, volumes, ...rest }) => {
    const { reversed, ...spec } = rest
    const named = (offset: number, count: number, letter: string) => {
      const list = containers.slice(offset, offset + count).map((part, index) => ({
        name: `${letter}${index}`,
        ...part
      }))
      return reversed ? list.reverse() : list
    }
    return JSON.parse(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: 'pod',
          ...(annotations ? { annotations: Object.fromEntries(annotations) } : {})
        },
        spec: {
          ...spec,
          initContainers: named(0, inits, 'i'),
          containers: named(2, ordinary, 'c'),
          ephemeralContainers: named(5, ephemeral, 'e'),
          volumes: volumes?.map((source, index) => ({ name: `v${index}`, ...source })) ?? volumes
        }
      })
    ) as Pod
  })
