/**
 * Pods in the shape in which KubeRay asks the API server to create them, reviews around them, and settings.
 *
 * Each builder takes what differs; everything else is an ordinary small pod.
 */
import type { AdmissionRequest, AdmissionReview } from '../../src/admission/review.ts'
import type { InjectionRequest, InjectionSettings } from '../../src/injection/settings.ts'
import type { Container, ObjectMeta, Pod, PodSpec } from '../../src/kubernetes/objects.ts'

export const headFqdn = 'demo-head-svc.team-a.svc.cluster.local'

export const serverCa =
  '-----BEGIN CERTIFICATE-----\nMIIBdTCCARugAwIBAgIUTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n'

export function injectionSettings(changes: Partial<InjectionSettings> = {}): InjectionSettings {
  return {
    image: 'registry.test/rayguard@sha256:aaaa',
    formerImages: ['registry.test/rayguard:0.0.9'],
    imageMirrors: ['mirror.test/rayguard@sha256:aaaa'],
    imagePullPolicy: 'IfNotPresent',
    imagePullSecrets: [],
    serverUrl: 'https://rayguard-enrollment.rayguard-system.svc',
    serverCa,
    keyAlgorithm: 'P-256',
    keyGroup: 65532,
    resources: { cpu: '500m', memory: '128Mi' },
    user: 65532,
    ...changes
  }
}

export function injectionRequest(changes: Partial<InjectionRequest> = {}): InjectionRequest {
  return { namespace: 'team-a', podSecurity: 'warn', tls: 'tls', ...changes }
}

export interface PodChanges {
  metadata?: ObjectMeta
  labels?: Record<string, string>
  annotations?: Record<string, string>
  spec?: Partial<PodSpec>
  /** Of the Ray container. */
  ray?: Partial<Container>
}

export function headPod(changes: PodChanges = {}): Pod {
  const env = [
    { name: 'RAY_CLUSTER_NAME', valueFrom: fieldOf("metadata.labels['ray.io/cluster']") },
    { name: 'RAY_CLOUD_INSTANCE_ID', valueFrom: fieldOf('metadata.name') },
    { name: 'RAY_NODE_TYPE_NAME', valueFrom: fieldOf("metadata.labels['ray.io/group']") },
    { name: 'KUBERAY_GEN_RAY_START_CMD', value: 'ray start --head --block' },
    { name: 'RAY_PORT', value: '6379' },
    { name: 'RAY_ADDRESS', value: '127.0.0.1:6379' },
    { name: 'RAY_USAGE_STATS_KUBERAY_IN_USE', value: '1' }
  ]
  const ray = rayContainer('ray-head', env, changes.ray)
  return podOf('demo-head-', 'head', { containers: [ray] }, changes)
}

export function workerPod(changes: PodChanges = {}): Pod {
  const env = [
    { name: 'FQ_RAY_IP', value: headFqdn },
    { name: 'RAY_IP', value: 'demo-head-svc' },
    { name: 'RAY_ADDRESS', value: `${headFqdn}:6379` },
    { name: 'RAY_PORT', value: '6379' },
    { name: 'RAY_CLUSTER_NAME', valueFrom: fieldOf("metadata.labels['ray.io/cluster']") }
  ]
  const ray = rayContainer('ray-worker', env, changes.ray)
  const spec = { initContainers: [waitContainer(changes.ray)], containers: [ray] }
  return podOf('demo-small-worker-', 'worker', spec, changes)
}

/** A copy of the head with another label and another command; no autoscaler, no probes. */
export function redisCleanupPod(changes: PodChanges = {}): Pod {
  const pod = headPod({
    ...changes,
    labels: { 'batch.kubernetes.io/job-name': 'demo-redis-cleanup', ...changes.labels }
  })
  const [ray] = pod.spec.containers as [Container]
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      generateName: 'demo-redis-cleanup-',
      ownerReferences: [
        {
          apiVersion: 'batch/v1',
          kind: 'Job',
          name: 'demo-redis-cleanup',
          uid: '33333333-0000-4000-8000-000000000003',
          controller: true,
          blockOwnerDeletion: true
        }
      ],
      labels: { ...pod.metadata.labels, 'ray.io/node-type': 'redis-cleanup' }
    },
    spec: {
      ...pod.spec,
      restartPolicy: 'Never',
      containers: [{ ...ray, command: ['/bin/bash', '-c', '--'], args: ['python -c "…"'] }]
    }
  }
}

export function submitterPod(changes: PodChanges = {}): Pod {
  const container: Container = {
    name: 'ray-job-submitter',
    image: 'rayproject/ray:2.52.0',
    command: ['/bin/bash', '-c', '--'],
    args: ['ray job submit --address http://demo-head-svc:8265 --no-wait -- python main.py'],
    env: [
      { name: 'PYTHONUNBUFFERED', value: '1' },
      { name: 'RAY_DASHBOARD_ADDRESS', value: 'demo-head-svc:8265' },
      { name: 'RAY_JOB_SUBMISSION_ID', value: 'demo-x2x4q' }
    ],
    ...changes.ray
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: 'demo-job-',
      labels: {
        'batch.kubernetes.io/job-name': 'demo-job',
        'job-name': 'demo-job',
        ...changes.labels
      },
      ...annotationsOf(changes),
      ...changes.metadata
    },
    spec: { restartPolicy: 'Never', securityContext: {}, containers: [container], ...changes.spec }
  }
}

export function autoscaler(changes: Partial<Container> = {}): Container {
  return {
    name: 'autoscaler',
    image: 'rayproject/ray:2.52.0',
    imagePullPolicy: 'IfNotPresent',
    command: ['/bin/bash', '-c', '--'],
    args: ['ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME)'],
    env: [{ name: 'RAY_HEAD_POD_NAME', valueFrom: fieldOf('metadata.name') }],
    volumeMounts: [{ name: 'ray-logs', mountPath: '/tmp/ray' }],
    ...changes
  }
}

/** The operator copies variables, mounts and security of the Ray container into it. */
export function waitContainer(ray: Partial<Container> = {}): Container {
  return {
    name: 'wait-gcs-ready',
    image: 'rayproject/ray:2.52.0',
    command: ['/bin/bash', '-c', '--'],
    args: [`until ray health-check --address ${headFqdn}:6379; do sleep 5; done`],
    resources: {
      limits: { cpu: '200m', memory: '256Mi' },
      requests: { cpu: '200m', memory: '256Mi' }
    },
    ...(ray.securityContext === undefined ? {} : { securityContext: ray.securityContext }),
    ...(ray.volumeMounts === undefined ? {} : { volumeMounts: ray.volumeMounts }),
    env: [
      ...(ray.env ?? []),
      { name: 'FQ_RAY_IP', value: headFqdn },
      { name: 'RAY_IP', value: 'demo-head-svc' }
    ]
  }
}

export function review(pod: unknown, changes: Partial<AdmissionRequest> = {}): AdmissionReview {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      operation: 'CREATE',
      namespace: 'team-a',
      userInfo: {
        username: 'system:serviceaccount:kuberay-system:kuberay-operator',
        groups: ['system:serviceaccounts', 'system:authenticated']
      },
      object: pod,
      oldObject: null,
      dryRun: false,
      ...changes
    }
  }
}

export function fieldOf(fieldPath: string) {
  return { fieldRef: { apiVersion: 'v1', fieldPath } }
}

function rayContainer(
  name: string,
  env: NonNullable<Container['env']>,
  changes: Partial<Container> = {}
): Container {
  return {
    name,
    image: 'rayproject/ray:2.52.0',
    command: ['/bin/bash', '-c', '--'],
    args: ['ulimit -n 65536; ray start --block'],
    resources: { limits: { cpu: '1', memory: '2Gi' }, requests: { cpu: '1', memory: '2Gi' } },
    ...changes,
    volumeMounts: [...(changes.volumeMounts ?? []), { name: 'shared-mem', mountPath: '/dev/shm' }],
    env: [...(changes.env ?? []), ...env]
  }
}

function podOf(
  generateName: string,
  node: 'head' | 'worker',
  spec: PodSpec,
  changes: PodChanges
): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName,
      labels: {
        'ray.io/is-ray-node': 'yes',
        'ray.io/cluster': 'demo',
        'ray.io/node-type': node,
        'ray.io/group': node === 'head' ? 'headgroup' : 'small',
        'ray.io/identifier': `demo-${node}`,
        'app.kubernetes.io/name': 'kuberay',
        'app.kubernetes.io/created-by': 'kuberay-operator',
        ...changes.labels
      },
      ...annotationsOf(changes),
      ownerReferences: [
        {
          apiVersion: 'ray.io/v1',
          kind: 'RayCluster',
          name: 'demo',
          uid: '9f1c7c7e-0000-4000-8000-000000000001',
          controller: true,
          blockOwnerDeletion: true
        }
      ],
      ...changes.metadata
    },
    spec: {
      securityContext: {},
      volumes: [{ name: 'shared-mem', emptyDir: { medium: 'Memory', sizeLimit: '2Gi' } }],
      ...spec,
      ...changes.spec
    }
  }
}

function annotationsOf({ annotations }: PodChanges): { annotations?: Record<string, string> } {
  return annotations === undefined ? {} : { annotations }
}
