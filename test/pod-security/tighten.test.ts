import fc from 'fast-check'
import t from 'tap'
import { createEdits } from '../../src/injection/edits.ts'
import { secure } from '../../src/injection/security.ts'
import type { Container, Pod, PodSpec, SecurityContext } from '../../src/kubernetes/objects.ts'
import { evaluate } from '../../src/pod-security/evaluate.ts'
import { mayNotStart, readKnownImage, setUsers } from '../../src/pod-security/known-images.ts'
import { locate } from '../../src/pod-security/locate.ts'
import { tighten, tightenEphemeral } from '../../src/pod-security/tighten.ts'
import type { Change } from '../../src/pod-security/tighten-change.ts'
import { arbitraryStandardPod } from '../support/arbitrary-standard-pods.ts'

function pod(spec: Partial<PodSpec>, contexts: (SecurityContext | null | undefined)[] = [{}]): Pod {
  const containers = contexts.map((securityContext, index): Container => {
    const name = `c${index}`
    return securityContext === undefined ? { name } : { name, securityContext }
  })
  return { metadata: {}, spec: { containers, ...spec } }
}

/** `path=value`, `path+=value`, `path:found->value`, `-path`, with the beginning that all have left out. */
function shown(changes: readonly Change[]): string[] {
  return changes.map(change => {
    const path = change.path
      .slice(1)
      .join('.')
      .replace('containers.', 'c')
      .replace(/^(?=securityContext)/, 'pod.')
      .replace('securityContext.', '')
      .replace(/^pod\.(?=runAsNonRoot$|seccompProfile$)/, '')
    if (change.action === 'remove') return `-${path}`
    const value = JSON.stringify(change.value)
    if (change.action === 'replace') return `${path}:${JSON.stringify(change.found)}->${value}`
    return `${path}${change.action === 'append' ? '+=' : '='}${value}`
  })
}

/** What the table calls `report`: the ids of the violations that remain in the changed pod. */
function reported(of: Pod): string[] {
  const violations = secure(createEdits(of), {}).filter(({ kind }) => kind === 'violation')
  return [...new Set(violations.map(({ id }) => id as string))]
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
      ['runAsNonRoot:false->true', seccomp, escalation(0), drop(0)]
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

t.test('the rows of what is tightened, kept and reported', async t => {
  const unconfined = { type: 'Unconfined' }
  const localhost = { type: 'Localhost', localhostProfile: 'x' }
  const all = { ...good }
  const two = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] }
  }
  const withContext = (securityContext: PodSpec['securityContext'], contexts: SecurityContext[]) =>
    pod({ securityContext: securityContext ?? null }, contexts)
  const inPod = (spec: Partial<PodSpec>) => pod(spec, [all])
  const inContainer = (container: Partial<Container>) =>
    pod({ containers: [{ name: 'c0', securityContext: all, ...container }] })
  const rows: [string, Pod, string[], string[]][] = [
    [
      'pod seccompProfile Unconfined, overridden by all',
      withContext({ seccompProfile: unconfined }, [all, { ...all, seccompProfile: localhost }]),
      ['seccompProfile:{"type":"Unconfined"}->{"type":"RuntimeDefault"}'],
      []
    ],
    [
      'pod seccompProfile Unconfined in effect',
      withContext({ seccompProfile: unconfined }, [all, { ...two, runAsNonRoot: true }]),
      [],
      ['seccompProfile_restricted']
    ],
    [
      'pod seccompProfile Unconfined, overridden by another bad one',
      withContext({ seccompProfile: unconfined }, [{ ...all, seccompProfile: unconfined }]),
      [],
      ['seccompProfile_restricted']
    ],
    [
      'pod seccompProfile Localhost',
      withContext({ seccompProfile: localhost, runAsNonRoot: true }, [two]),
      [],
      []
    ],
    [
      'container seccompProfile Unconfined',
      pod({}, [{ ...all, seccompProfile: unconfined }]),
      [],
      ['seccompProfile_restricted']
    ],
    [
      'pod runAsNonRoot false, a user everywhere',
      withContext({ runAsNonRoot: false }, [
        { ...two, seccompProfile: localhost, runAsUser: 5 },
        all
      ]),
      ['runAsNonRoot:false->true'],
      []
    ],
    [
      'pod runAsNonRoot false, overridden by all',
      withContext({ runAsNonRoot: false }, [all]),
      ['runAsNonRoot:false->true'],
      []
    ],
    [
      'pod runAsNonRoot false otherwise',
      withContext({ runAsNonRoot: false }, [{ ...two, seccompProfile: localhost }, all]),
      [],
      ['runAsNonRoot']
    ],
    [
      'pod runAsNonRoot in a user namespace',
      pod({ hostUsers: false, securityContext: { runAsNonRoot: false, runAsUser: 5 } }, [all]),
      [],
      []
    ],
    [
      'container runAsNonRoot false with a user of its own',
      pod({}, [{ ...all, runAsNonRoot: false, runAsUser: 5 }]),
      ['c0.runAsNonRoot:false->true'],
      []
    ],
    [
      'container runAsNonRoot false with the user of the pod',
      withContext({ runAsUser: 5 }, [{ ...all, runAsNonRoot: false }]),
      ['c0.runAsNonRoot:false->true'],
      []
    ],
    [
      'container runAsNonRoot false otherwise',
      pod({}, [{ ...all, runAsNonRoot: false }]),
      [],
      ['runAsNonRoot']
    ],
    ['runAsUser 0 in effect', withContext({ runAsUser: 0 }, [all]), [], ['runAsUser']],
    ['runAsUser 0 of a container', pod({}, [{ ...all, runAsUser: 0 }]), [], ['runAsUser']],
    [
      'runAsUser 0 in a user namespace',
      pod({ hostUsers: false, securityContext: { runAsUser: 0 } }, [all]),
      [],
      []
    ],
    [
      'pod runAsUser 0, overridden by all',
      withContext({ runAsUser: 0 }, [
        { ...all, runAsUser: 5 },
        { ...all, runAsUser: 6 }
      ]),
      ['-pod.runAsUser'],
      []
    ],
    [
      'allowPrivilegeEscalation true',
      pod({}, [{ ...all, allowPrivilegeEscalation: true }]),
      [],
      ['allowPrivilegeEscalation']
    ],
    [
      'privileged, escalation absent',
      pod({}, [{ ...all, allowPrivilegeEscalation: null, privileged: true }]),
      [],
      ['privileged', 'allowPrivilegeEscalation']
    ],
    [
      'CAP_SYS_ADMIN, escalation absent',
      pod({}, [
        {
          ...all,
          allowPrivilegeEscalation: null,
          capabilities: { add: ['CAP_SYS_ADMIN'], drop: ['ALL'] }
        }
      ]),
      [],
      ['allowPrivilegeEscalation', 'capabilities_restricted']
    ],
    ...['CAP_NET_BIND_SERVICE', 'net_bind_service', 'SYS_PTRACE'].map(
      (capability): [string, Pod, string[], string[]] => [
        `capabilities.add ${capability}`,
        pod({}, [{ ...all, capabilities: { add: [capability], drop: ['ALL'] } }]),
        [],
        ['capabilities_restricted']
      ]
    ),
    [
      'capabilities.add NET_BIND_SERVICE',
      pod({}, [{ ...all, capabilities: { add: ['NET_BIND_SERVICE'], drop: ['ALL'] } }]),
      [],
      []
    ],
    [
      'procMount Unmasked',
      pod({}, [{ ...all, procMount: 'Unmasked' }]),
      [],
      ['procMount_restricted']
    ],
    [
      'privileged false, no capability added',
      pod({}, [{ ...all, privileged: false, capabilities: { add: [], drop: ['ALL'] } }]),
      [],
      []
    ],
    [
      'procMount Unmasked in a user namespace',
      pod({ hostUsers: false }, [{ ...all, procMount: 'Unmasked' }]),
      [],
      ['procMount_restricted']
    ],
    ['procMount Default', pod({}, [{ ...all, procMount: 'Default' }]), [], []],
    [
      'procMount Unmasked, escalation absent',
      pod({}, [{ ...all, allowPrivilegeEscalation: null, procMount: 'Unmasked' }]),
      [],
      ['allowPrivilegeEscalation', 'procMount_restricted']
    ],
    ['hostNetwork', inPod({ hostNetwork: true }), [], ['hostNamespaces']],
    ['hostPID', inPod({ hostPID: true }), [], ['hostNamespaces']],
    ['hostIPC', inPod({ hostIPC: true }), [], ['hostNamespaces']],
    ['hostPort', inContainer({ ports: [{ containerPort: 1, hostPort: 1 }] }), [], ['hostPorts']],
    [
      'hostPort by hostNetwork',
      pod({
        hostNetwork: true,
        containers: [{ name: 'c0', securityContext: all, ports: [{ containerPort: 1 }] }]
      }),
      [],
      ['hostNamespaces', 'hostPorts']
    ],
    [
      'probe host',
      inContainer({ livenessProbe: { httpGet: { host: '127.0.0.1' } } }),
      [],
      ['hostProbesAndHostLifecycle']
    ],
    [
      'lifecycle host',
      inContainer({ lifecycle: { preStop: { tcpSocket: { host: 'x' } } } }),
      [],
      ['hostProbesAndHostLifecycle']
    ],
    [
      'volumes of allowed types, or without a source',
      inPod({ volumes: [{ name: 'a' }, { name: 'b', csi: {} }, { name: 'c', image: {} }] }),
      [],
      []
    ],
    ['hostPath', inPod({ volumes: [{ name: 'v', hostPath: {} }] }), [], ['restrictedVolumes']],
    ['nfs', inPod({ volumes: [{ name: 'v', nfs: {} }] }), [], ['restrictedVolumes']],
    [
      'a sysctl',
      withContext({ sysctls: [{ name: 'kernel.msgmax', value: '1' }] }, [all]),
      [],
      ['sysctls']
    ],
    [
      'SELinux type',
      pod({}, [{ ...all, seLinuxOptions: { type: 'spc_t' } }]),
      [],
      ['seLinuxOptions']
    ],
    [
      'AppArmor Unconfined',
      withContext({ appArmorProfile: unconfined }, [all]),
      [],
      ['appArmorProfile']
    ],
    [
      'AppArmor Unconfined, escalation absent',
      withContext({ appArmorProfile: unconfined }, [{ ...all, allowPrivilegeEscalation: null }]),
      [],
      ['appArmorProfile', 'allowPrivilegeEscalation']
    ],
    [
      'a HostProcess container',
      withContext({ windowsOptions: { hostProcess: true } }, [all]),
      [],
      ['windowsHostProcess']
    ],
    ['hostUsers', inPod({ hostUsers: true }), [], []],
    ['Windows', pod({ os: { name: 'windows' } }, [{}]), ['runAsNonRoot=true'], []]
  ]
  for (const [name, row, changes, remaining] of rows) {
    t.strictSame(shown(tighten(row)), changes, `${name}: what is changed`)
    t.strictSame(reported(row), remaining, `${name}: what is reported`)
  }
})

t.test('a new ephemeral container may also hold a value without effect', async t => {
  const running = pod(
    {
      securityContext: { runAsUser: 5, seccompProfile: { type: 'RuntimeDefault' } },
      ephemeralContainers: [{ name: 'e', securityContext: { ...good, runAsNonRoot: false } }]
    },
    [good]
  )
  t.strictSame(
    shown(tightenEphemeral(running, () => true)),
    ['ephemeralContainers.0.runAsNonRoot:false->true'],
    'tightened'
  )
  const inNamespace = { ...running, spec: { ...running.spec, hostUsers: false } }
  t.strictSame(
    tightenEphemeral(inNamespace, () => true),
    [],
    'not in a user namespace'
  )
})

t.test('an administrator names the users of images', async t => {
  const images = ['rayproject/ray*=1000', 'registry.test/plain', 'docker.io/library/redis=999'].map(
    readKnownImage
  )
  const of = (image: string | undefined, spec: Partial<PodSpec> = {}, context = {}) =>
    shown(
      setUsers(
        pod({
          containers: [{ name: 'c0', securityContext: context, ...(image ? { image } : {}) }],
          ...spec
        }),
        images
      )
    )
  const set = ['c0.runAsUser=1000']
  for (const image of [
    'rayproject/ray',
    'rayproject/ray:2.58.0-py311',
    'docker.io/rayproject/ray-llm@sha256:aa',
    'rayproject/ray:2@sha256:aa'
  ]) {
    t.strictSame(of(image), set, image)
  }
  t.strictSame(of('library/redis:7'), ['c0.runAsUser=999'], 'with the default registry')
  for (const image of [
    'evil.test/rayproject/ray',
    'localhost:5000/rayproject/ray',
    'registry.test/plain:1',
    'rayprojec',
    undefined
  ]) {
    t.strictSame(of(image), [], `not for ${image}`)
  }
  const ray = 'rayproject/ray'
  t.strictSame(of(ray, {}, { runAsUser: 7 }), [], 'a user of the container stands')
  t.strictSame(of(ray, { securityContext: { runAsUser: 0 } }), [], 'one of the pod too, even root')
  t.strictSame(of(ray, {}, { runAsNonRoot: false }), [], 'nor who asks for root')
  t.strictSame(of(ray, {}, { privileged: true }), [], 'nor who asks for a privilege')
  t.strictSame(of(ray, { hostUsers: false }), [], 'nor in a user namespace')
  t.strictSame(of(ray, { os: { name: 'windows' } }), [], 'nor on Windows')
  t.strictSame(setUsers(pod({}), []), [], 'without images')

  const unknown = (image: string, context: SecurityContext = { runAsNonRoot: true }) => {
    const container = { name: 'c', image, securityContext: context }
    return mayNotStart(pod({ containers: [container] }), container, images)
  }
  t.equal(unknown('busybox'), true, 'nobody knows the user of the image')
  t.equal(unknown('busybox', { runAsNonRoot: true, runAsUser: 5 }), false, 'the pod says')
  t.equal(unknown('busybox', {}), false, 'nothing is demanded')
  t.equal(unknown('registry.test/plain:1'), false, 'the administrator says')
  t.equal(unknown('rayproject/ray:2.9.0'), false, 'an image of Ray’s')
})

t.test(
  'for any pod: nothing is lost or loosened, what remains is said, and once is enough',
  async t => {
    let changed = 0
    let overwritten = 0
    fc.assert(
      fc.property(arbitraryStandardPod, before => {
        const text = JSON.stringify(before)
        const changes = tighten(before)
        const edits = createEdits(before)
        const findings = secure(edits, {})
        if (JSON.stringify(before) !== text) throw new Error('the pod that came in was changed')
        const after = edits.pod
        changed += changes.length
        const named = new Set<string>()
        for (const change of changes) {
          if (change.action === 'set' || change.action === 'append') continue
          overwritten += 1
          named.add(change.path.join('/'))
        }
        stands(before, after, '', named)
        same(tighten(after), [], 'a second pass changes something')
        const said = findings.flatMap(({ kind, id }) => (kind === 'violation' ? [id] : []))
        const left = locate(after).map(({ id }) => id)
        // Volumes and ports as the API server fills them in are judged by other tests.
        const unsaid = evaluate(after).filter(({ id }) => left.includes(id) && !bare(after, id))
        for (const { id } of unsaid) {
          if (!said.includes(id)) throw new Error(`${id} is not said`)
        }
        const earlier = new Set(evaluate(before).map(({ id }) => id))
        for (const { id } of evaluate(after)) {
          if (!earlier.has(id)) throw new Error(`${id} is new`)
        }
      }),
      { numRuns: 5000 }
    )
    t.ok(changed > 5000, `enough was changed: ${changed}`)
    t.ok(overwritten > 20, `and enough overwritten: ${overwritten}`)
  }
)

function bare({ spec }: Pod, id: string): boolean {
  return id === 'restrictedVolumes' && spec.volumes?.some(volume => isBare(volume)) === true
}

function isBare(volume: object): boolean {
  return Object.entries(volume).every(([key, value]) => key === 'name' || value === null)
}

function same(found: unknown, wanted: unknown, message: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${message}: ${a} instead of ${b}`)
}

/** Every leaf of `before` is in `after` at its place, unless it is named; lists may have become longer. */
function stands(before: unknown, after: unknown, path: string, named: ReadonlySet<string>): void {
  if (before === null || before === undefined || named.has(path)) return
  if (typeof before !== 'object') {
    if (before !== after) throw new Error(`${path} was ${String(before)}, is ${String(after)}`)
    return
  }
  for (const [key, value] of Object.entries(before)) {
    const other = (after as Record<string, unknown> | undefined)?.[key]
    stands(value, other, path === '' ? key : `${path}/${key}`, named)
  }
}
