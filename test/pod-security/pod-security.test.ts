import t from 'tap'
import type { Container, Pod, PodSpec, SecurityContext } from '../../src/kubernetes/objects.ts'
import { withDefaults } from '../../src/pod-security/defaults.ts'
import { locate } from '../../src/pod-security/locate.ts'
import { checkIds, checks } from '../../src/pod-security/standard.ts'
import { type Setting, tighten, tightenEphemeral } from '../../src/pod-security/tighten.ts'

function pod(spec: Partial<PodSpec>, contexts: (SecurityContext | null | undefined)[] = [{}]): Pod {
  const containers = contexts.map((securityContext, index): Container => {
    const name = `c${index}`
    return securityContext === undefined ? { name } : { name, securityContext }
  })
  return { metadata: {}, spec: { containers, ...spec } }
}

/** `path=value`, or `path+=value`, with the beginning that all have left out. */
function shown(settings: readonly Setting[]): string[] {
  return settings.map(
    ({ path, value, append }) =>
      `${path
        .slice(1)
        .join('.')
        .replace('containers.', 'c')
        .replace('securityContext.', '')}${append ? '+=' : '='}${JSON.stringify(value)}`
  )
}

const seccomp = 'seccompProfile={"type":"RuntimeDefault"}'
const escalation = (index: number) => `c${index}.allowPrivilegeEscalation=false`
const drop = (index: number) => `c${index}.capabilities.drop+="ALL"`
const good = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' }
}

t.test('the decision table: what is set, and what is left', async t => {
  const whole = ['runAsNonRoot=true', seccomp]
  const rows: [string, Pod, string[]][] = [
    ['nothing present', pod({}), [...whole, escalation(0), drop(0)]],
    [
      'no context, null context',
      pod({}, [undefined, null]),
      [...whole, escalation(0), drop(0), escalation(1), drop(1)]
    ],
    ['complete containers', pod({}, [good]), []],
    [
      'a complete pod',
      pod({ securityContext: { runAsNonRoot: true, seccompProfile: { type: 'Localhost' } } }, [
        { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
      ]),
      []
    ],
    [
      'one container lacks what another has',
      pod({}, [good, {}]),
      [...whole, escalation(1), drop(1)]
    ],
    ['a drop without ALL', pod({}, [{ ...good, capabilities: { drop: ['NET_RAW'] } }]), [drop(0)]],
    ['a drop in lower case', pod({}, [{ ...good, capabilities: { drop: ['all'] } }]), [drop(0)]],
    [
      'an empty drop, a null drop',
      pod({}, [
        { ...good, capabilities: { drop: [] } },
        { ...good, capabilities: { drop: null } }
      ]),
      [drop(0), drop(1)]
    ],
    [
      'NET_BIND_SERVICE',
      pod({}, [{ ...good, capabilities: { add: ['NET_BIND_SERVICE'] } }]),
      [drop(0)]
    ],
    ['a forbidden capability', pod({}, [{ capabilities: { add: ['SYS_PTRACE'] } }]), whole],
    ['privileged', pod({}, [{ privileged: true }]), whole],
    ['SYS_ADMIN as CAP_SYS_ADMIN', pod({}, [{ capabilities: { add: ['CAP_SYS_ADMIN'] } }]), whole],
    ['adds ALL', pod({}, [{ capabilities: { add: ['ALL'] } }]), whole],
    ['escalation asked for', pod({}, [{ allowPrivilegeEscalation: true }]), whole],
    [
      'Unconfined container',
      pod({}, [{ seccompProfile: { type: 'Unconfined' } }]),
      ['runAsNonRoot=true']
    ],
    [
      'Unconfined pod',
      pod({ securityContext: { seccompProfile: { type: 'Unconfined' } } }),
      ['runAsNonRoot=true']
    ],
    [
      'a root container beside another',
      pod({}, [{ runAsUser: 0 }, {}]),
      ['c1.runAsNonRoot=true', seccomp, escalation(1), drop(1)]
    ],
    ['a root pod', pod({ securityContext: { runAsUser: 0 } }), [seccomp]],
    [
      'a root pod with another user in one',
      pod({ securityContext: { runAsUser: 0 } }, [{ runAsUser: 5 }, {}]),
      ['c0.runAsNonRoot=true', seccomp, escalation(0), drop(0)]
    ],
    ['a pod that says false', pod({ securityContext: { runAsNonRoot: false } }), [seccomp]],
    [
      'false with a user',
      pod({ securityContext: { runAsNonRoot: false, runAsUser: 5 } }),
      [seccomp, escalation(0), drop(0)]
    ],
    [
      'a container that says false',
      pod({}, [{ runAsNonRoot: false }, {}]),
      [...whole, escalation(1), drop(1)]
    ],
    ['all say false', pod({}, [{ runAsNonRoot: false }]), [seccomp]],
    ['a user namespace', pod({ hostUsers: false }), [seccomp, escalation(0), drop(0)]],
    ['Windows', pod({ os: { name: 'windows' } }), ['runAsNonRoot=true']],
    [
      'Linux by name',
      pod({ os: { name: 'linux' }, nodeSelector: { 'kubernetes.io/os': 'windows' } }),
      [...whole, escalation(0), drop(0)]
    ],
    ['Windows by its nodes alone', pod({ nodeSelector: { 'kubernetes.io/os': 'windows' } }), []],
    [
      'Linux by its nodes',
      pod({ nodeSelector: { 'kubernetes.io/os': 'linux' } }),
      [...whole, escalation(0), drop(0)]
    ]
  ]
  for (const [name, row, wanted] of rows) t.strictSame(shown(tighten(row)), wanted, name)
})

t.test('all three kinds of containers are visited', async t => {
  const every = pod({
    initContainers: [{ name: 'i' }],
    ephemeralContainers: [{ name: 'e' }]
  })
  const paths = tighten(every).map(({ path }) => path.slice(0, 3).join('/'))
  for (const list of ['initContainers', 'containers', 'ephemeralContainers']) {
    t.ok(paths.includes(`spec/${list}/0`), list)
  }
  t.strictSame(
    locate(every)
      .filter(({ id }) => id === 'allowPrivilegeEscalation')
      .map(({ container }) => container),
    ['i', 'c0', 'e'],
    'in the order of the upstream library'
  )
})

t.test('a new ephemeral container gets what the running pod cannot give', async t => {
  const running = (spec: Partial<PodSpec>, securityContext: SecurityContext = {}) =>
    pod({ ephemeralContainers: [{ name: 'old' }, { name: 'e', securityContext }], ...spec }, [good])
  const isNew = ({ name }: Container) => name === 'e'
  const at = (of: Pod) =>
    shown(tightenEphemeral(of, isNew)).map(text => text.replace('ephemeralContainers.1.', ''))
  const two = ['allowPrivilegeEscalation=false', 'capabilities.drop+="ALL"']
  t.strictSame(at(running({})), ['runAsNonRoot=true', seccomp, ...two], 'all four')
  t.strictSame(
    at(
      running({
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }
      })
    ),
    two,
    'two, where the pod has the others'
  )
  t.strictSame(at(running({}, { runAsUser: 0 })), [seccomp], 'not for root')
  t.strictSame(at(running({ os: { name: 'windows' } })), ['runAsNonRoot=true'], 'Windows')
  t.strictSame(
    at(running({ nodeSelector: { 'kubernetes.io/os': 'windows' } })),
    [],
    'Windows by its nodes'
  )
  t.strictSame(
    tightenEphemeral(pod({}), () => true),
    [],
    'no ephemeral containers'
  )
})

t.test('each check reports what violates it, and nothing else', async t => {
  const contexts = (context: SecurityContext) => pod({}, [{ ...good, ...context }])
  const rows: [string, Pod, string[]][] = [
    ['complies', pod({}, [good]), []],
    [
      'nothing set',
      pod({}),
      [
        'allowPrivilegeEscalation c0',
        'capabilities_restricted c0',
        'runAsNonRoot c0',
        'seccompProfile_restricted c0'
      ]
    ],
    [
      'host namespaces',
      pod({ hostNetwork: true, hostPID: true, hostIPC: false }, [good]),
      ['hostNamespaces']
    ],
    [
      'a host port',
      pod({
        containers: [
          { name: 'c0', securityContext: good, ports: [{ hostPort: 80 }, { hostPort: 0 }, {}] }
        ]
      }),
      ['hostPorts c0']
    ],
    [
      'a port on the network of the host',
      pod({
        hostNetwork: true,
        containers: [{ name: 'c0', securityContext: good, ports: [{ containerPort: 80 }] }]
      }),
      ['hostNamespaces', 'hostPorts c0']
    ],
    ['privileged', contexts({ privileged: true }), ['privileged c0']],
    ['escalation', contexts({ allowPrivilegeEscalation: true }), ['allowPrivilegeEscalation c0']],
    [
      'a capability',
      contexts({ capabilities: { add: ['net_bind_service'], drop: ['ALL'] } }),
      ['capabilities_restricted c0']
    ],
    [
      'an allowed capability',
      contexts({ capabilities: { add: ['NET_BIND_SERVICE'], drop: ['ALL'] } }),
      []
    ],
    [
      'a host path',
      pod({ volumes: [{ name: 'v', hostPath: { path: '/' } }] }, [good]),
      ['restrictedVolumes']
    ],
    ['NFS', pod({ volumes: [{ name: 'v', nfs: {} }] }, [good]), ['restrictedVolumes']],
    [
      'allowed volumes',
      pod(
        {
          volumes: [
            { name: 'v' },
            { name: 'w', emptyDir: {} },
            { name: 'x', image: {}, hostPath: null }
          ]
        },
        [good]
      ),
      []
    ],
    ['root', contexts({ runAsUser: 0 }), ['runAsUser c0']],
    [
      'a root pod, overridden',
      pod({ securityContext: { runAsUser: 0 } }, [{ ...good, runAsUser: 5 }]),
      ['runAsUser']
    ],
    ['a root pod', pod({ securityContext: { runAsUser: 0 } }, [good]), ['runAsUser']],
    [
      'false, though overridden',
      pod({ securityContext: { runAsNonRoot: false } }, [good]),
      ['runAsNonRoot']
    ],
    ['a container that says false', contexts({ runAsNonRoot: false }), ['runAsNonRoot c0']],
    [
      'root in a user namespace',
      pod({ hostUsers: false, securityContext: { runAsNonRoot: false, runAsUser: 0 } }, [
        { ...good, runAsUser: 0, runAsNonRoot: false }
      ]),
      []
    ],
    [
      'Unconfined container',
      contexts({ seccompProfile: { type: 'Unconfined' } }),
      ['seccompProfile_restricted c0']
    ],
    [
      'Unconfined pod, overridden',
      pod({ securityContext: { seccompProfile: { type: 'Unconfined' } } }, [good]),
      ['seccompProfile_restricted']
    ],
    [
      'Unconfined pod',
      pod({ securityContext: { seccompProfile: { type: 'Unconfined' } } }, [
        { ...good, seccompProfile: null }
      ]),
      ['seccompProfile_restricted']
    ],
    [
      'Windows',
      pod(
        {
          os: { name: 'windows' },
          securityContext: { runAsNonRoot: true, seccompProfile: { type: 'x' } }
        },
        [{ allowPrivilegeEscalation: true }]
      ),
      []
    ],
    ['Windows as root', pod({ os: { name: 'windows' } }), ['runAsNonRoot c0']]
  ]
  for (const [name, row, wanted] of rows) {
    const found = locate(withDefaults(row)).map(({ id, container }) =>
      container ? `${id} ${container}` : id
    )
    t.strictSame(found, wanted, name)
  }
  t.strictSame(
    locate(pod({ hostNetwork: true }, [{}, good]), ({ name }) => name === 'c1'),
    [],
    'limited to some containers'
  )
  t.strictSame(
    checks.map(({ id }) => id),
    [...checkIds],
    'the table has every id, in order'
  )
})
