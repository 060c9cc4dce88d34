/** Rayguard's own pods on a real node: which are there, which are ready. */
import type { Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from './cluster.ts'
import { kubectl } from './cluster-kubectl.ts'

export const systemNamespace = 'rayguard-system'
export const components = ['webhook', 'enrollment'] as const
export type Component = (typeof components)[number]

const comeUpMs = 180_000

export async function restart(...restarted: Component[]): Promise<void> {
  const deployments = restarted.map(component => `deployment/rayguard-${component}`)
  await kubectl(['-n', systemNamespace, 'rollout', 'restart', ...deployments])
}

export async function rolledOut(...awaited: Component[]): Promise<void> {
  for (const component of awaited) {
    const rollout = ['rollout', 'status', `deployment/rayguard-${component}`, '--timeout=180s']
    await kubectl(['-n', systemNamespace, ...rollout])
  }
}

/** `kubectl rollout status` does not wait for it, and a replica on its way out still serves whom kube-proxy sends there. */
export async function replacedHaveGone(): Promise<void> {
  const all = ['get', 'pods', '-l', 'app.kubernetes.io/name=rayguard', '-o', 'json']
  await eventually('the end of the replaced replicas', async () => {
    const { items }: { items: Pod[] } = JSON.parse(await kubectl(['-n', systemNamespace, ...all]))
    return items.every(({ metadata }) => metadata.deletionTimestamp === undefined)
  })
}

/** Not those on their way out. */
export async function readyReplicas(api: ClusterApi, component: Component): Promise<Pod[]> {
  const selector = encodeURIComponent(`app.kubernetes.io/component=${component}`)
  const pods = await api.list<Pod>(
    `/api/v1/namespaces/${systemNamespace}/pods?labelSelector=${selector}`
  )
  return pods.filter(isReady)
}

/** Two of each, none of them one of `gone` (names). */
export function twoOfEach(api: ClusterApi, gone: readonly string[] = []): Promise<Pod[]> {
  return eventually(
    'two ready replicas of each component',
    async () => {
      const ready = await Promise.all(components.map(component => readyReplicas(api, component)))
      const stayed = ready.map(pods => pods.filter(pod => !gone.includes(nameOf(pod))))
      return stayed.every(pods => pods.length === 2) && stayed.flat()
    },
    comeUpMs
  )
}

export function isReady({ metadata, status }: Pod): boolean {
  const { conditions = [] } = (status ?? {}) as {
    conditions?: { type: string; status: string }[]
  }
  return (
    metadata.deletionTimestamp === undefined &&
    conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
  )
}

export const nameOf = ({ metadata }: Pod) => metadata.name ?? ''
