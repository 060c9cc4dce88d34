/**
 * A catalogue of the pods that KubeRay 1.0 to 1.6 creates, with the features that change them.
 */
import type { Container, Pod } from '../../src/kubernetes/objects.ts'
import {
  autoscaler,
  fieldOf,
  headFqdn,
  headPod,
  type PodChanges,
  redisCleanupPod,
  submitterPod,
  workerPod
} from './builders.ts'

const rayLogs = { name: 'ray-logs', emptyDir: {} }
const sharedMemory = { name: 'shared-mem', emptyDir: { medium: 'Memory', sizeLimit: '2Gi' } }

/** `restricted` as a careful user writes it on the Ray container. */
export const hardened = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' }
}

export function nativeTls(secret: string): PodChanges {
  return tlsFiles('/etc/ray/tls', '/etc/ray/tls/ca.crt', [
    { name: 'ray-tls', secret: { secretName: secret } }
  ])
}

export function sampleTls(): PodChanges {
  return tlsFiles('/etc/ray/tls', '/etc/ca/tls/ca.crt', [
    { name: 'ca-tls', secret: { secretName: 'ca-tls' } },
    { name: 'ray-tls', emptyDir: {} }
  ])
}

function tlsFiles(directory: string, ca: string, volumes: Pod['spec']['volumes']): PodChanges {
  return {
    ray: {
      env: [
        { name: 'RAY_USE_TLS', value: '1' },
        { name: 'RAY_TLS_SERVER_CERT', value: `${directory}/tls.crt` },
        { name: 'RAY_TLS_SERVER_KEY', value: `${directory}/tls.key` },
        { name: 'RAY_TLS_CA_CERT', value: ca }
      ],
      volumeMounts: [{ name: 'ray-tls', mountPath: '/etc/ray/tls', readOnly: true }]
    },
    spec: { volumes: [sharedMemory, ...(volumes ?? [])] }
  }
}

function headWith(containers: Container[], changes: PodChanges = {}): Pod {
  const pod = headPod({
    ...changes,
    ray: {
      ...changes.ray,
      volumeMounts: [
        ...(changes.ray?.volumeMounts ?? []),
        { name: 'ray-logs', mountPath: '/tmp/ray' }
      ]
    },
    spec: { volumes: [sharedMemory, rayLogs], ...changes.spec }
  })
  return { ...pod, spec: { ...pod.spec, containers: [...pod.spec.containers, ...containers] } }
}

const submitterContainer = submitterPod().spec.containers[0] as Container

const waitForIp: Container = {
  name: 'wait-for-tls-ip-san',
  image: 'rayproject/ray:2.52.0',
  env: [
    { name: 'POD_IP', valueFrom: fieldOf('status.podIP') },
    { name: 'FQ_RAY_IP', value: headFqdn }
  ],
  volumeMounts: [{ name: 'ray-tls', mountPath: '/etc/ray/tls', readOnly: true }]
}

/** Heads and workers that get TLS from Rayguard. */
export const enrolledPods: Record<string, Pod> = {
  'head of KubeRay 1.0': headPod({ annotations: { 'ray.io/ft-enabled': 'false' } }),
  'worker of KubeRay 1.0, without annotations': workerPod(),
  'head of KubeRay 1.3 with autoscaler': headWith([autoscaler()], {
    spec: { serviceAccountName: 'demo', volumes: [sharedMemory, rayLogs] }
  }),
  'head of KubeRay 1.5 in sidecar mode': headWith([submitterContainer, autoscaler()], {
    annotations: { 'ray.io/ft-enabled': 'false' },
    spec: { restartPolicy: 'Never', volumes: [sharedMemory, rayLogs] }
  }),
  'head of KubeRay 1.6 with GCS fault tolerance and token authentication': headPod({
    annotations: {
      'ray.io/ft-enabled': 'true',
      'ray.io/external-storage-namespace': 'demo',
      'ray.io/kuberay-version': 'v1.6.0',
      'ray.io/upgrade-strategy-recreate-hash': '0a1b2c'
    },
    ray: {
      env: [
        { name: 'RAY_REDIS_ADDRESS', value: 'redis:6379' },
        {
          name: 'REDIS_PASSWORD',
          valueFrom: { secretKeyRef: { name: 'redis', key: 'password' } }
        },
        { name: 'RAY_AUTH_MODE', value: 'token' },
        {
          name: 'RAY_AUTH_TOKEN',
          valueFrom: { secretKeyRef: { name: 'demo', key: 'auth_token' } }
        }
      ],
      volumeMounts: [{ name: 'ray-token', mountPath: '/var/run/secrets/ray.io/serviceaccount' }]
    },
    spec: {
      volumes: [
        sharedMemory,
        { name: 'ray-token', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }
      ]
    }
  }),
  'worker of KubeRay 1.6, multi-host': workerPod({
    labels: {
      'ray.io/worker-group-replica-index': '0',
      'ray.io/worker-group-replica-name': 'small-abcde',
      'ray.io/replica-host-index': '1'
    },
    spec: { hostname: 'host-1', subdomain: 'demo-headless' }
  }),
  'worker of a RayService': workerPod({ labels: { 'ray.io/serve': 'true' } }),
  'worker without the waiting init container': {
    ...workerPod(),
    spec: { ...workerPod().spec, initContainers: null }
  },
  'worker hardened by its author': workerPod({
    ray: { securityContext: { ...hardened, runAsUser: 1000, runAsGroup: 100 } }
  }),
  'head with an fsGroup': headPod({ spec: { securityContext: { fsGroup: 2000 } } }),
  'head with an empty securityContext and null lists': {
    ...headPod({ ray: { securityContext: null } }),
    spec: {
      ...headPod().spec,
      securityContext: null,
      initContainers: null,
      imagePullSecrets: null,
      nodeSelector: null
    }
  },
  'head without any list': {
    metadata: { labels: { 'ray.io/cluster': 'demo', 'ray.io/node-type': 'head' } },
    spec: { containers: [{ name: 'ray-head' }] }
  }
}

/** Pods that get security alone. */
export const jobPods: Record<string, Pod> = {
  'submitter before KubeRay 1.7': submitterPod(),
  'submitter of KubeRay 1.7': submitterPod({
    ray: { env: [] },
    labels: {
      'ray.io/originated-from-cr-name': 'demo-job',
      'ray.io/originated-from-crd': 'RayJob',
      'app.kubernetes.io/created-by': 'kuberay-operator'
    }
  }),
  'Redis cleanup': redisCleanupPod()
}

/** Heads and workers whose TLS is somebody else's. */
export const foreignTlsPods: Record<string, Pod> = {
  'head with KubeRay’s own mTLS': (() => {
    const pod = headPod(nativeTls('ray-head-secret-demo'))
    return { ...pod, spec: { ...pod.spec, initContainers: [waitForIp] } }
  })(),
  'worker with KubeRay’s own mTLS': workerPod(nativeTls('ray-worker-secret-demo')),
  'worker with the sample’s TLS': workerPod(sampleTls())
}
