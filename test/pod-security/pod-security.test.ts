import t from 'tap'
import type { Container, Pod, PodSpec, SecurityContext } from '../../src/kubernetes/objects.ts'
import { withDefaults } from '../../src/pod-security/defaults.ts'
import { locate } from '../../src/pod-security/locate.ts'
import { checkIds, checks } from '../../src/pod-security/standard.ts'

function pod(spec: Partial<PodSpec>, contexts: (SecurityContext | null | undefined)[] = [{}]): Pod {
  const containers = contexts.map((securityContext, index): Container => {
    const name = `c${index}`
    return securityContext === undefined ? { name } : { name, securityContext }
  })
  return { metadata: {}, spec: { containers, ...spec } }
}

const good = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' }
}

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
