/** An ordinary RayCluster on a real node, and when each of its pods came how far. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from './cluster.ts'
import { execute } from './cluster-kubectl.ts'
import { isReady } from './cluster-replicas.ts'

export const rayVersion = '2.58.0'
const readyLimitMs = 300_000

/** One head and its workers, as anyone would write them. */
export function rayCluster(name: string, workers = 2): KubernetesObject & { spec: object } {
  const template = (container: string) => ({
    spec: {
      containers: [
        {
          name: container,
          image: `rayproject/ray:${rayVersion}`,
          resources: {
            requests: { cpu: '200m', memory: '1Gi' },
            limits: { cpu: '1', memory: '2Gi' }
          }
        }
      ]
    }
  })
  return {
    apiVersion: 'ray.io/v1',
    kind: 'RayCluster',
    metadata: { name },
    spec: {
      rayVersion,
      headGroupSpec: { rayStartParams: { 'num-cpus': '1' }, template: template('ray-head') },
      workerGroupSpecs: [
        {
          groupName: 'small',
          replicas: workers,
          minReplicas: workers,
          maxReplicas: workers,
          rayStartParams: { 'num-cpus': '1' },
          template: template('ray-worker')
        }
      ]
    }
  }
}

/** So many are ready, and none of them is on its way out. */
export function readyRayPods(api: ClusterApi, namespace: string, count: number): Promise<Pod[]> {
  return eventually(
    `${count} ready pods in ${namespace}`,
    async () => {
      const ready = (await api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)).filter(isReady)
      return ready.length === count && ready
    },
    readyLimitMs
  )
}

/** So many workers, by the field that a person would change; resolves when all pods are ready, none of them `gone`. */
export async function scaled(
  api: ClusterApi,
  namespace: string,
  { name, workers, gone = [] }: { name: string; workers: number; gone?: readonly string[] }
): Promise<Pod[]> {
  const { workerGroupSpecs } = rayCluster(name, workers).spec as { workerGroupSpecs?: object }
  await api.patch(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/${name}`, {
    spec: { workerGroupSpecs }
  })
  return eventually(
    `${workers} ready workers`,
    async () => {
      const ready = await readyRayPods(api, namespace, workers + 1)
      return ready.every(pod => !gone.includes(pod.metadata.name ?? '')) && ready
    },
    readyLimitMs
  )
}

/**
 * Submitted at the head; its output says on how many hosts its tasks ran. With `hosts` it goes on until they did on as many,
 * for ten minutes at most.
 */
export async function runJob(
  namespace: string,
  head: string,
  hosts = 0
): Promise<{ output: string }> {
  const seconds = hosts > 0 ? 600 : 0
  const script = [
    'import ray, socket, time',
    'ray.init(logging_level="ERROR")',
    '@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")',
    'def host():',
    '  time.sleep(1)',
    '  return socket.gethostname()',
    `seen, end = set(), time.time() + ${seconds}`,
    'while True:',
    '  seen |= set(ray.get([host.remote() for _ in range(6)], timeout=90))',
    `  if len(seen) >= ${hosts} or time.time() > end: break`,
    'print("hosts:", len(seen))'
  ].join('\n')
  await execute(namespace, head, 'sh', '-c', `cat >/tmp/job.py <<'PY'\n${script}\nPY`)
  const { stdout, stderr } = await execute(
    ...([namespace, head, 'timeout', String(seconds + 150), 'ray', 'job', 'submit'] as const),
    ...['--address', 'http://127.0.0.1:8265', '--', 'python3', '/tmp/job.py']
  )
  return { output: stdout + stderr }
}

export interface PodTimes {
  node: string
  createdMs: number
  /** When its address was first seen in the API. */
  addressMs?: number
  /** When its first container was first seen as ready. */
  readyMs?: number
}

/** Watches the pods of a namespace by looking, ten times a second. */
export function timePods(api: ClusterApi, namespace: string) {
  const times = new Map<string, PodTimes>()
  let stopped = false
  const loop = (async () => {
    while (!stopped) {
      const pods = await api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
      const now = Date.now()
      for (const { metadata, status } of pods) {
        const name = metadata.name ?? ''
        const entry = times.get(name) ?? {
          node: metadata.labels?.['ray.io/node-type'] ?? '',
          createdMs: now
        }
        times.set(name, entry)
        if (status?.podIP) entry.addressMs ??= now
        const [first] = status?.containerStatuses ?? []
        if ((first as { ready?: boolean } | undefined)?.ready) entry.readyMs ??= now
      }
      await sleep(100)
    }
  })()
  return {
    times,
    async stop() {
      stopped = true
      await loop
    }
  }
}
