/**
 * Ray pods that are real to the API server, to Rayguard and to the kubelet, but run nothing: the container only waits. Their
 * RayCluster is left to another controller by its own field, so that KubeRay does not count them.
 */
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from './cluster.ts'
import { rayCluster } from './cluster-ray.ts'
import { isReady } from './cluster-replicas.ts'

const image =
  process.env.USE_EXISTING_CLUSTER === 'true' ? 'registry.k8s.io/pause:3.10' : 'localhost/pause:1'

/** A RayCluster to which idle pods may belong. Without a head of its own none gets a CA with `trust: perCluster`. */
export async function makeIdleCluster(api: ClusterApi, namespace: string) {
  const cluster = rayCluster('idle')
  return api.create<KubernetesObject>(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters`, {
    ...cluster,
    spec: { ...cluster.spec, managedBy: 'kueue.x-k8s.io/multikueue' }
  })
}

/** No node takes it: as long as it waits it is a head that lives. */
export async function makeIdleHead(api: ClusterApi, cluster: KubernetesObject): Promise<Pod> {
  const { metadata, spec } = idleWorker(cluster) as Pod
  return api.create<Pod>(`/api/v1/namespaces/${cluster.metadata.namespace}/pods`, {
    metadata: {
      ...metadata,
      generateName: 'idle-head-',
      labels: { ...metadata.labels, 'ray.io/node-type': 'head', 'ray.io/group': 'headgroup' }
    },
    spec: { ...spec, nodeSelector: { 'rayguard.test/node': 'none' } }
  })
}

export async function makeIdleWorker(api: ClusterApi, cluster: KubernetesObject): Promise<Pod> {
  return api.create<Pod>(
    `/api/v1/namespaces/${cluster.metadata.namespace}/pods`,
    idleWorker(cluster)
  )
}

export function idleWorker({ apiVersion, kind, metadata }: KubernetesObject): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'idle-worker-',
      labels: {
        'ray.io/cluster': metadata.name,
        'ray.io/node-type': 'worker',
        'ray.io/group': 'small',
        'ray.io/is-ray-node': 'yes'
      },
      ownerReferences: [
        { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true }
      ]
    },
    spec: {
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'ray-worker',
          image,
          imagePullPolicy: 'IfNotPresent',
          securityContext: { runAsUser: 1000 },
          resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { memory: '64Mi' } }
        }
      ]
    }
  }
}

export interface HeldCertificate {
  serialNumber: string
  anchorSha256: string
}

/** What the agent left in the status of a pod that runs. */
export async function heldBy(
  api: ClusterApi,
  namespace: string,
  name: string,
  isWanted: (certificate: HeldCertificate) => boolean = () => true
): Promise<HeldCertificate> {
  return eventually(
    `${namespace}/${name} runs with a certificate`,
    async () => {
      const pod = await api.get<Pod>(`/api/v1/namespaces/${namespace}/pods/${name}`)
      const [agent] = pod.status?.initContainerStatuses ?? []
      const message = agent?.state?.terminated?.message
      if (!isReady(pod) || message === undefined) return undefined
      const certificate = JSON.parse(message) as HeldCertificate
      return isWanted(certificate) && certificate
    },
    180_000
  )
}
