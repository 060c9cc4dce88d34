/**
 * Plays scheduler and kubelet for Ray pods of one namespace: a node, an address of the loopback network for each pod, the
 * real agent as the init container, and containers that are reported as ready. KubeRay then goes on as on a real node.
 */
import { spawn } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'
import { ApiFailure, type ClusterApi, makeToken } from './cluster.ts'

export interface AgentRun {
  exitCode: number
  /** What it logged. */
  output: string
  /** Where its three files are, if it wrote them. */
  directory: string
  terminationMessage: string
}

export interface PlayedKubelet {
  /** How the agent ended, by the pod's name. */
  runs: Map<string, AgentRun>
  /** Pods in the order in which they were taken up. */
  seen: string[]
  stop(): Promise<void>
}

export interface KubeletOptions {
  folder: string
  /** `127.0.N.x` for each pod; give every namespace a number of its own. */
  network: number
}

const nodeName = 'played-node'

export async function playKubelet(
  api: ClusterApi,
  namespace: string,
  options: KubeletOptions
): Promise<PlayedKubelet> {
  const pods = `/api/v1/namespaces/${namespace}/pods`
  const played: PlayedKubelet = { runs: new Map(), seen: [], stop }
  const work: Promise<void>[] = []
  const faults: unknown[] = []
  const noteFault = (error: unknown) => {
    faults.push(error)
  }
  let stopped = false
  const loop = watch().catch(noteFault)

  async function watch(): Promise<void> {
    while (!stopped) {
      for (const pod of await api.list<Pod>(pods)) {
        const name = pod.metadata.name ?? ''
        if (pod.metadata.deletionTimestamp) await end(name)
        else if (!pod.spec.nodeName && !played.seen.includes(name)) {
          played.seen.push(name)
          work.push(run(pod, `127.0.${options.network}.${played.seen.length}`).catch(noteFault))
        }
      }
      await sleep(100)
    }
  }

  /** The grace period is the kubelet's to end. */
  async function end(name: string): Promise<void> {
    await api.delete(`${pods}/${name}?gracePeriodSeconds=0`)
  }

  async function run(pod: Pod, address: string): Promise<void> {
    const name = pod.metadata.name ?? ''
    try {
      await assign(api, pod, address)
      const container = pod.spec.initContainers?.find(each => each.name === 'rayguard-enroll')
      if (container) {
        const result = await runAgent(api, pod, container, address, join(options.folder, name))
        played.runs.set(name, result)
        if (result.exitCode !== 0) return
      }
      await api.patch(`${pods}/${name}/status`, {
        status: readyStatus(pod, address, played.runs.get(name))
      })
    } catch (error) {
      // deleted meanwhile: KubeRay does that, and then there is nothing left to run
      if (!(error instanceof ApiFailure && error.code === 404)) throw error
    }
  }

  async function stop(): Promise<void> {
    stopped = true
    await loop
    await Promise.all(work)
    if (faults.length > 0)
      throw new AggregateError(faults, `the played kubelet of ${namespace} failed`)
  }

  return played
}

/** Pods of a node that does not exist are collected. */
async function makeNode(api: ClusterApi): Promise<void> {
  if (await api.find(`/api/v1/nodes/${nodeName}`)) return
  await api.create('/api/v1/nodes', { metadata: { name: nodeName } }).catch(error => {
    // somebody else was quicker
    if (!(error instanceof ApiFailure && error.code === 409)) throw error
  })
}

/** Binds the pod to the node and publishes its address, as a kubelet does once the sandbox runs. */
export async function assign(api: ClusterApi, pod: Pod, address: string): Promise<void> {
  await makeNode(api)
  await api.create(`${pathOf(pod)}/binding`, {
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name: pod.metadata.name },
    target: { apiVersion: 'v1', kind: 'Node', name: nodeName }
  })
  await showAddress(api, pod, address)
}

export async function showAddress(api: ClusterApi, pod: Pod, address: string): Promise<void> {
  await api.patch(`${pathOf(pod)}/status`, {
    status: { phase: 'Pending', podIP: address, podIPs: [{ ip: address }] }
  })
}

const pathOf = ({ metadata }: Pod) =>
  `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`

/** Writes another end of its certificate into the status of a pod, as if its agent had said so. */
export async function sayEnd(api: ClusterApi, { metadata, status }: Pod, end: Date): Promise<void> {
  const words = { serialNumber: 'ab', notAfter: end.toISOString(), anchorSha256: 'cd' }
  const terminated = { exitCode: 0, message: JSON.stringify(words) }
  const statuses = (status?.initContainerStatuses ?? []).map(each =>
    each.name === 'rayguard-enroll' ? { ...each, state: { terminated } } : each
  )
  await api.patch(`/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}/status`, {
    status: { initContainerStatuses: statuses }
  })
}

/** The real agent, with the variables of the container as the kubelet would resolve them. */
export async function runAgent(
  api: ClusterApi,
  pod: Pod,
  container: Container,
  address: string,
  directory: string,
  sourceAddress = address
): Promise<AgentRun> {
  await mkdir(join(directory, 'tls'), { recursive: true })
  const audience = audienceOf(pod)
  const token = await makeToken(
    api,
    pod.metadata.namespace ?? '',
    pod.spec.serviceAccountName ?? '',
    {
      audience,
      pod
    }
  )
  await writeFile(join(directory, 'token'), token, { mode: 0o400 })
  await writeFile(join(directory, 'termination'), '')
  const options = [
    ...['--directory', join(directory, 'tls'), '--token-file', join(directory, 'token')],
    ...['--termination-log', join(directory, 'termination'), '--source-address', sourceAddress],
    ...['--exit-delay', '0']
  ]
  const [, ...command] = container.command ?? []
  const environment = resolveVariables(pod, container, address)
  const child = spawn(process.execPath, ['dist/rayguard.js', ...command, ...options], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000
  })
  const chunks: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => chunks.push(chunk))
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? 1))
  })
  return {
    exitCode,
    output: Buffer.concat(chunks).toString(),
    directory: join(directory, 'tls'),
    terminationMessage: await readFile(join(directory, 'termination'), 'utf8')
  }
}

/** Of the projected token that our init container mounts: what a kubelet would ask for. */
export function audienceOf(pod: Pod): string {
  const volume = pod.spec.volumes?.find(({ name }) => name === 'rayguard-token')
  return volume?.projected?.sources?.[0]?.serviceAccountToken?.audience ?? ''
}

function resolveVariables(pod: Pod, container: Container, address: string): Record<string, string> {
  const { name = '', namespace = '', uid = '' } = pod.metadata
  const fields: Record<string, string> = {
    'status.podIP': address,
    'status.podIPs': address,
    'metadata.name': name,
    'metadata.namespace': namespace,
    'metadata.uid': uid
  }
  const environment: Record<string, string> = { PATH: process.env.PATH ?? '' }
  for (const variable of container.env ?? []) {
    const field = variable.valueFrom?.fieldRef?.fieldPath
    environment[variable.name] =
      field === undefined ? (variable.value ?? '') : (fields[field] ?? '')
  }
  // the supplemental group of a pod is not a test's to have: its own group stands for it
  if (environment.RAYGUARD_KEY_GROUP)
    environment.RAYGUARD_KEY_GROUP = String(process.getgid?.() ?? 0)
  return environment
}

function readyStatus(pod: Pod, address: string, run: AgentRun | undefined): object {
  const startedAt = new Date().toISOString()
  const status = ({ name, image = '' }: Container, state: object, ready: boolean) => ({
    name,
    image,
    imageID: image,
    ready,
    started: ready,
    restartCount: 0,
    state
  })
  const condition = (type: string) => ({ type, status: 'True', lastTransitionTime: startedAt })
  return {
    phase: 'Running',
    podIP: address,
    podIPs: [{ ip: address }],
    startTime: startedAt,
    conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map(condition),
    initContainerStatuses: (pod.spec.initContainers ?? []).map(container => {
      const message = container.name === 'rayguard-enroll' ? (run?.terminationMessage ?? '') : ''
      return status(container, { terminated: { exitCode: 0, reason: 'Completed', message } }, true)
    }),
    containerStatuses: pod.spec.containers.map(container =>
      status(container, { running: { startedAt } }, true)
    )
  }
}
