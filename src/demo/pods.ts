/**
 * The pods of a small RayCluster as KubeRay 1.6 asks the API server to create them, and the objects around them.
 */
import type { Container, Namespace, Pod, RayCluster, Service } from '../kubernetes/objects.ts'

export const demoNamespace = 'team-a'
export const demoCluster = 'demo'
export const headService = `${demoCluster}-head-svc`
export const headName = `${headService}.${demoNamespace}.svc.cluster.local`

const image = 'rayproject/ray:2.58.0'
const sharedMemory = { name: 'shared-mem', emptyDir: { medium: 'Memory', sizeLimit: '1Gi' } }

/** Its labels say what its administrators want; without any the defaults hold. */
export function namespaceOf(name: string): Namespace {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'kubernetes.io/metadata.name': name } }
  }
}

export function rayCluster(uid: string): RayCluster {
  return {
    apiVersion: 'ray.io/v1',
    kind: 'RayCluster',
    metadata: { name: demoCluster, namespace: demoNamespace, uid },
    spec: { headGroupSpec: {} },
    status: { head: { serviceName: headService } }
  }
}

export function headServiceOf(cluster: RayCluster): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: headService,
      namespace: demoNamespace,
      uid: `${cluster.metadata.uid}-service`,
      ownerReferences: [ownerOf(cluster)]
    },
    spec: { clusterIP: 'None' }
  }
}

export function headPod(cluster: RayCluster): Pod {
  const container: Container = {
    name: 'ray-head',
    image,
    command: ['/bin/bash', '-c', '--'],
    args: ['ulimit -n 65536; ray start --head --block --dashboard-host=0.0.0.0 --num-cpus=1'],
    env: [
      { name: 'RAY_CLUSTER_NAME', valueFrom: fieldOf("metadata.labels['ray.io/cluster']") },
      { name: 'RAY_PORT', value: '6379' },
      { name: 'RAY_ADDRESS', value: '127.0.0.1:6379' }
    ],
    volumeMounts: [{ name: sharedMemory.name, mountPath: '/dev/shm' }]
  }
  return podOf(cluster, 'head', { containers: [container], volumes: [sharedMemory] })
}

export function workerPod(cluster: RayCluster): Pod {
  const env = [
    { name: 'FQ_RAY_IP', value: headName },
    { name: 'RAY_IP', value: headService }
  ]
  const wait: Container = {
    name: 'wait-gcs-ready',
    image,
    command: ['/bin/bash', '-c', '--'],
    args: [`until ray health-check --address ${headName}:6379; do sleep 5; done`],
    env
  }
  const container: Container = {
    name: 'ray-worker',
    image,
    command: ['/bin/bash', '-c', '--'],
    args: [`ulimit -n 65536; ray start --address=${headName}:6379 --block --num-cpus=1`],
    env: [...env, { name: 'RAY_ADDRESS', value: `${headName}:6379` }],
    volumeMounts: [{ name: sharedMemory.name, mountPath: '/dev/shm' }]
  }
  return podOf(cluster, 'worker', {
    initContainers: [wait],
    containers: [container],
    volumes: [sharedMemory]
  })
}

function podOf(cluster: RayCluster, node: 'head' | 'worker', spec: Pod['spec']): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: `${demoCluster}-${node === 'head' ? 'head' : 'small-worker'}-`,
      namespace: demoNamespace,
      labels: {
        'ray.io/cluster': demoCluster,
        'ray.io/node-type': node,
        'ray.io/group': node === 'head' ? 'headgroup' : 'small',
        'ray.io/is-ray-node': 'yes'
      },
      ownerReferences: [ownerOf(cluster)]
    },
    spec: { serviceAccountName: 'default', ...spec }
  }
}

function ownerOf(cluster: RayCluster) {
  return {
    apiVersion: 'ray.io/v1',
    kind: 'RayCluster',
    name: demoCluster,
    uid: cluster.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true
  }
}

function fieldOf(fieldPath: string) {
  return { fieldRef: { fieldPath } }
}
