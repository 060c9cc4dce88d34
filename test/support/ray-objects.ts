/**
 * The objects of one RayCluster as the API shows them once a pod runs: shapes as KubeRay makes them, cut to what is read.
 */
import {
  enrollCommand,
  enrollContainer,
  tokenDirectory,
  tokenExpirationSeconds,
  tokenFile,
  tokenVolume
} from '../../src/contract/pod.ts'
import type {
  KubernetesObject,
  OwnerReference,
  Pod,
  RayCluster,
  Service
} from '../../src/kubernetes/objects.ts'

export const namespace = 'team-a'
export const image = 'registry.test/rayguard:1'

export function controllerReference(owner: KubernetesObject): OwnerReference {
  return {
    apiVersion: owner.apiVersion ?? '',
    kind: owner.kind ?? '',
    name: owner.metadata.name ?? '',
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true
  }
}

export function rayCluster(name = 'demo', status: RayCluster['status'] = null): RayCluster {
  return {
    apiVersion: 'ray.io/v1',
    kind: 'RayCluster',
    metadata: { name, namespace, uid: `${name}-cluster-uid` },
    spec: { headGroupSpec: {} },
    status
  }
}

export function serviceOf(owner: KubernetesObject, name: string): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      namespace: owner.metadata.namespace ?? namespace,
      uid: `${name}-service-uid`,
      ownerReferences: [controllerReference(owner)]
    },
    spec: { clusterIP: 'None' }
  }
}

export interface PodWishes {
  name?: string
  cluster?: RayCluster
  node?: string
  ips?: string[]
}

/** A pod that carries our init container and waits for its certificate. */
export function rayPod(wishes: PodWishes = {}): Pod {
  const { name = 'demo-worker-1', cluster = rayCluster(), node = 'worker', ips = [] } = wishes
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid: `${name}-uid`,
      labels: { 'ray.io/cluster': cluster.metadata.name ?? '', 'ray.io/node-type': node },
      ownerReferences: [controllerReference(cluster)]
    },
    spec: {
      serviceAccountName: 'ray',
      nodeName: 'node-1',
      initContainers: [
        {
          name: enrollContainer,
          image,
          command: [...enrollCommand],
          volumeMounts: [{ name: tokenVolume, mountPath: tokenDirectory, readOnly: true }]
        }
      ],
      containers: [{ name: 'ray', image: 'rayproject/ray:2.58.0' }],
      volumes: [
        {
          name: tokenVolume,
          projected: {
            defaultMode: 0o444,
            sources: [
              {
                serviceAccountToken: {
                  audience: 'rayguard',
                  expirationSeconds: tokenExpirationSeconds,
                  path: tokenFile
                }
              }
            ]
          }
        }
      ]
    },
    status: {
      phase: 'Pending',
      ...(ips[0] === undefined ? {} : { podIP: ips[0] }),
      podIPs: ips.map(ip => ({ ip })),
      initContainerStatuses: [{ name: enrollContainer, state: { running: {} } }]
    }
  }
}
