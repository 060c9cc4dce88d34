/** What a pod's author, another webhook or an ordering fault could leave of an injected worker pod: each loses its TLS. */
import type { Container, Pod } from '../../src/kubernetes/objects.ts'

export type PodChange = (pod: Pod) => unknown

export const withoutAgent: PodChange = pod =>
  Object.assign(pod.spec, {
    initContainers: pod.spec.initContainers?.filter(({ name }) => name !== 'rayguard-enroll')
  })

export const forgeries: [string, PodChange][] = [
  ['a pod without the agent', withoutAgent],
  ['a pod with another agent', pod => Object.assign(agentOf(pod), { image: 'evil.test/agent' })],
  ['an agent with another command', pod => Object.assign(agentOf(pod), { command: ['node'] })],
  ['an agent with arguments', pod => Object.assign(agentOf(pod), { args: ['--help'] })],
  [
    'an agent that is steered by variables',
    pod => agentOf(pod).env?.push({ name: 'NODE_OPTIONS', value: '--require=/tmp/evil' })
  ],
  [
    'an agent that reads its variables elsewhere',
    pod => Object.assign(agentOf(pod), { envFrom: [{ configMapRef: { name: 'evil' } }] })
  ],
  ...[
    '/opt/rayguard/rayguard.js',
    '/lib',
    '/',
    '/data/../opt/rayguard',
    '/opt//rayguard',
    '/proc/self/root/opt/rayguard'
  ].map((mountPath): [string, PodChange] => [
    `an agent with other code mounted at ${mountPath}`,
    pod => mountInAgent(pod, mountPath)
  ]),
  ['an agent with code behind a link', pod => mountInAgent(pod, '/links', '/links/x/rayguard')],
  [
    'an agent with a device for a library',
    pod => {
      const device = { name: 'evil', devicePath: '/lib/libm.so.6' }
      mountInAgent(pod)
      return Object.assign(agentOf(pod), { volumeDevices: [device] })
    }
  ],
  [
    'an agent that may do more',
    pod =>
      Object.assign(agentOf(pod).securityContext ?? {}, {
        capabilities: { drop: ['ALL'], add: ['SYS_PTRACE'] }
      })
  ],
  [
    'an agent that stays as a sidecar',
    pod => Object.assign(agentOf(pod), { restartPolicy: 'Always' })
  ],
  [
    'an agent behind another container',
    pod => pod.spec.initContainers?.unshift({ name: 'first', image: 'first' })
  ],
  [
    'an agent that could get the API token',
    pod => leaveOut(agentOf(pod), 'volumeMounts', 'rayguard-no-api-token')
  ],
  [
    'a container that mounts the token',
    pod => pod.spec.containers.push(mounting('rayguard-token', true))
  ],
  [
    'an init container that mounts the token',
    pod => pod.spec.initContainers?.push(mounting('rayguard-token', true))
  ],
  [
    'a container that writes the key',
    pod => pod.spec.containers.push(mounting('rayguard-tls', false))
  ],
  ['a key on a disk', pod => Object.assign(volumeOf(pod, 'rayguard-tls'), { emptyDir: {} })],
  [
    'a token for somebody else',
    pod => {
      const [source] = volumeOf(pod, 'rayguard-token').projected?.sources ?? []
      Object.assign(source?.serviceAccountToken ?? {}, { audience: 'vault' })
    }
  ],
  ['Ray without the certificate', pod => leaveOut(rayOf(pod), 'volumeMounts', 'rayguard-tls')],
  ['Ray without TLS', pod => leaveOut(rayOf(pod), 'env', 'RAY_USE_TLS')],
  [
    'Ray with TLS turned off by the last word',
    pod => rayOf(pod).env?.push({ name: 'RAY_USE_TLS', value: '0' })
  ],
  [
    'a wait for the head without TLS',
    pod => leaveOut(containerOf(pod, 'wait-gcs-ready'), 'env', 'RAY_TLS_CA_CERT')
  ],
  ['the network of the node', pod => Object.assign(pod.spec, { hostNetwork: true })],
  ['a role of no meaning', pod => label(pod, 'Worker')],
  ['a clean-up of Redis that is no Job', pod => label(pod, 'redis-cleanup')]
]

export function mountInAgent(pod: Pod, ...paths: string[]): void {
  const evil = { name: 'evil', persistentVolumeClaim: { claimName: 'evil' } }
  pod.spec.volumes = [...(pod.spec.volumes ?? []), evil]
  const mounts = paths.map(mountPath => ({ name: 'evil', mountPath }))
  agentOf(pod).volumeMounts?.push(...mounts)
}

function agentOf(pod: Pod): Container {
  return containerOf(pod, 'rayguard-enroll')
}

function containerOf(pod: Pod, name: string): Container {
  return pod.spec.initContainers?.find(each => each.name === name) as Container
}

function rayOf(pod: Pod): Container {
  return pod.spec.containers[0] as Container
}

function volumeOf(pod: Pod, name: string) {
  return pod.spec.volumes?.find(each => each.name === name) ?? { name }
}

function leaveOut(container: Container, list: 'env' | 'volumeMounts', without: string): void {
  const items: { name: string }[] = container[list] ?? []
  Object.assign(container, { [list]: items.filter(({ name }) => name !== without) })
}

function mounting(name: string, readOnly: boolean): Container {
  return { name: 'other', image: 'other', volumeMounts: [{ name, mountPath: '/stolen', readOnly }] }
}

function label(pod: Pod, nodeType: string): void {
  pod.metadata.labels = { ...pod.metadata.labels, 'ray.io/node-type': nodeType }
}
