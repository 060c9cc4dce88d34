/**
 * Pods as a team really runs them: what KubeRay makes, with the variables, volumes, probes and sidecars that grow a pod to
 * some 9 KB of JSON.
 */
import { randomUUID } from 'node:crypto'
import { headName, headPod, headServiceOf, rayCluster, workerPod } from '../src/demo/pods.ts'
import { inject } from '../src/injection/inject.ts'
import type { InjectionSettings } from '../src/injection/settings.ts'
import type { Container, KubernetesObject, Pod, RayCluster } from '../src/kubernetes/objects.ts'

const headPodName = 'demo-head'

export const cluster: RayCluster = withHead(rayCluster('11111111-0000-4000-8000-000000000001'))

export function largeHead(): Pod {
  return grown(headPod(cluster), 'head')
}

export function largeWorker(): Pod {
  return grown(workerPod(cluster), 'worker')
}

/** As the API server has stored it after admission and scheduling, with its address. */
export function runningWorker(name: string, address: string, settings: InjectionSettings): Pod {
  return running(largeWorker(), name, address, settings)
}

export function runningHead(address: string, settings: InjectionSettings): Pod {
  return running(largeHead(), headPodName, address, settings)
}

/** The RayCluster with its head, which has to live before its own CA is made. */
export function clusterWithHead(address: string, settings: InjectionSettings): KubernetesObject[] {
  return [cluster, headServiceOf(cluster), runningHead(address, settings)]
}

/** A RayCluster of its own: what belongs to `cluster`, under another name and UID. */
export function inOtherCluster<T extends KubernetesObject>(objects: T[], name: string): T[] {
  const text = JSON.stringify(objects).replaceAll('demo', name)
  return JSON.parse(text.replaceAll(cluster.metadata.uid ?? '', randomUUID()))
}

function withHead(made: RayCluster): RayCluster {
  return { ...made, status: { head: { ...made.status?.head, podName: headPodName } } }
}

function running(asked: Pod, name: string, address: string, settings: InjectionSettings): Pod {
  const { namespace = '' } = asked.metadata
  const injection = inject(asked, { namespace, podSecurity: 'warn', tls: 'tls' }, settings)
  if (!injection.allowed) throw new Error(`The pod of the bench is refused: ${injection.reason}`)
  const { pod } = injection
  return {
    ...pod,
    metadata: { ...pod.metadata, name, uid: randomUUID() },
    spec: { ...pod.spec, nodeName: 'node-1' },
    status: { phase: 'Pending', podIP: address, podIPs: [{ ip: address }] }
  }
}

export function admissionReview(pod: Pod): object {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: randomUUID(),
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      requestKind: { group: '', version: 'v1', kind: 'Pod' },
      requestResource: { group: '', version: 'v1', resource: 'pods' },
      namespace: pod.metadata.namespace,
      operation: 'CREATE',
      userInfo: {
        username: 'system:serviceaccount:kuberay-system:kuberay-operator',
        uid: randomUUID(),
        groups: ['system:serviceaccounts', 'system:authenticated']
      },
      object: pod,
      oldObject: null,
      dryRun: false,
      options: { apiVersion: 'meta.k8s.io/v1', kind: 'CreateOptions' }
    }
  }
}

function grown(pod: Pod, node: 'head' | 'worker'): Pod {
  const [ray, ...others] = pod.spec.containers
  if (ray === undefined) throw new Error('A Ray pod has a container.')
  const volumes = [...(pod.spec.volumes ?? []), ...teamVolumes()]
  const wait = pod.spec.initContainers?.map(container => ({
    ...container,
    // KubeRay copies variables and mounts of the Ray container.
    env: [...(container.env ?? []), ...teamVariables().slice(0, 14)],
    volumeMounts: teamMounts(),
    resources: {
      limits: { cpu: '200m', memory: '256Mi' },
      requests: { cpu: '200m', memory: '256Mi' }
    }
  }))
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      labels: { ...pod.metadata.labels, ...teamLabels },
      annotations: { 'ray.io/ft-enabled': 'false', ...teamAnnotations }
    },
    spec: {
      ...pod.spec,
      ...(wait === undefined ? {} : { initContainers: wait }),
      containers: [
        withTeamParts(ray, node),
        ...others,
        ...(node === 'head' ? [autoscaler] : []),
        logShipper
      ],
      volumes,
      ...placement
    }
  }
}

const teamLabels = {
  'app.kubernetes.io/name': 'recommendations',
  'app.kubernetes.io/part-of': 'ranking',
  'app.kubernetes.io/created-by': 'kuberay-operator',
  'app.kubernetes.io/version': '2026.11.3',
  'kueue.x-k8s.io/queue-name': 'ranking-gpu',
  'example.com/cost-centre': '4711',
  'example.com/owner': 'ranking-team'
}

const teamAnnotations = {
  'prometheus.io/scrape': 'true',
  'prometheus.io/port': '8080',
  'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
  'example.com/runbook': 'https://runbooks.example.com/ranking/ray-cluster#pod-does-not-start',
  'example.com/deployed-by': 'argocd/ranking-production/recommendations'
}

/** Some forty, as Ray clusters have them: settings, places, credentials by reference. */
function teamVariables(): NonNullable<Container['env']> {
  const plain = Object.entries({
    PYTHONUNBUFFERED: '1',
    OMP_NUM_THREADS: '4',
    HF_HOME: '/mnt/models/huggingface',
    TRANSFORMERS_OFFLINE: '1',
    MODEL_NAME: 'example/ranker-large-2026-10',
    MODEL_REVISION: '6f1c0a8e5d3b4c2f9a7e8d1b0c3f5a6e7d8c9b0a',
    NCCL_DEBUG: 'WARN',
    NCCL_SOCKET_IFNAME: 'eth0',
    RAY_GRAFANA_HOST: 'http://grafana.monitoring.svc.cluster.local:3000',
    RAY_PROMETHEUS_HOST: 'http://prometheus-operated.monitoring.svc.cluster.local:9090',
    RAY_memory_monitor_refresh_ms: '250',
    RAY_memory_usage_threshold: '0.92',
    RAY_PROFILING: '0',
    RAY_BACKEND_LOG_LEVEL: 'warning',
    AWS_REGION: 'eu-central-1',
    S3_ENDPOINT_URL: 'https://s3.eu-central-1.amazonaws.com',
    CHECKPOINT_PATH: 's3://ranking-checkpoints/production/recommendations',
    FEATURE_STORE_URL: 'http://feature-store.ranking.svc.cluster.local:6566',
    MLFLOW_TRACKING_URI: 'http://mlflow.ml-platform.svc.cluster.local:5000',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://otel-collector.monitoring.svc.cluster.local:4317',
    OTEL_RESOURCE_ATTRIBUTES: 'service.namespace=ranking,deployment.environment=production',
    RANKER_BATCH_SIZE: '256',
    RANKER_CACHE_URL: 'redis://ranking-cache-master.ranking.svc.cluster.local:6379/2',
    RANKER_FALLBACK_MODEL: 'example/ranker-small-2026-09',
    KAFKA_BOOTSTRAP_SERVERS:
      'kafka-0.kafka.ranking.svc.cluster.local:9093,kafka-1.kafka.ranking.svc.cluster.local:9093',
    KAFKA_TOPIC_EVENTS: 'ranking.recommendations.events.v3',
    SENTRY_ENVIRONMENT: 'production',
    RAY_USAGE_STATS_KUBERAY_IN_USE: '1',
    RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE: '1'
  }).map(([name, value]) => ({ name, value }))
  const secret = (name: string, key: string) => ({
    name,
    valueFrom: { secretKeyRef: { name: 'recommendations-credentials', key } }
  })
  const field = (name: string, fieldPath: string) => ({
    name,
    valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } }
  })
  return [
    ...plain,
    field('RAY_CLOUD_INSTANCE_ID', 'metadata.name'),
    field('RAY_NODE_TYPE_NAME', "metadata.labels['ray.io/group']"),
    field('RAY_CLUSTER_NAMESPACE', 'metadata.namespace'),
    secret('AWS_ACCESS_KEY_ID', 'access-key-id'),
    secret('AWS_SECRET_ACCESS_KEY', 'secret-access-key'),
    secret('FEATURE_STORE_TOKEN', 'feature-store-token'),
    secret('KAFKA_PASSWORD', 'kafka-password'),
    secret('SENTRY_DSN', 'sentry-dsn'),
    {
      name: 'KUBERAY_GEN_RAY_START_CMD',
      value: `ray start --address=${headName}:6379 --block --dashboard-agent-listen-port=52365 --memory=34359738368 --metrics-export-port=8080 --num-cpus=8 --num-gpus=1`
    }
  ]
}

function teamVolumes(): NonNullable<Pod['spec']['volumes']> {
  return [
    { name: 'ray-logs', emptyDir: {} },
    { name: 'models', persistentVolumeClaim: { claimName: 'ranking-models', readOnly: true } },
    { name: 'scratch', emptyDir: { sizeLimit: '200Gi' } },
    {
      name: 'recommendations-config',
      configMap: { name: 'recommendations-config', defaultMode: 420 }
    },
    { name: 'pip-config', secret: { secretName: 'pip-config', defaultMode: 420 } },
    { name: 'log-shipper-config', configMap: { name: 'log-shipper-config', defaultMode: 420 } }
  ]
}

function teamMounts(): NonNullable<Container['volumeMounts']> {
  return [
    { name: 'ray-logs', mountPath: '/tmp/ray' },
    { name: 'models', mountPath: '/mnt/models', readOnly: true },
    { name: 'scratch', mountPath: '/mnt/scratch' },
    { name: 'recommendations-config', mountPath: '/etc/recommendations', readOnly: true },
    { name: 'pip-config', mountPath: '/etc/pip', readOnly: true }
  ]
}

function withTeamParts(container: Container, node: 'head' | 'worker'): Container {
  const check = (path: string) =>
    `wget --tries 1 -T 2 -q -O- http://localhost:52365/api/${path} | grep success`
  const command = [
    check('local_raylet_healthz'),
    ...(node === 'head' ? [check('gcs_healthz')] : [])
  ]
  const probe = { exec: { command: ['bash', '-c', command.join(' && ')] }, periodSeconds: 5 }
  const amounts = {
    cpu: '8',
    memory: '32Gi',
    ...(node === 'worker' ? { 'nvidia.com/gpu': '1' } : {})
  }
  return {
    ...container,
    imagePullPolicy: 'IfNotPresent',
    env: [...(container.env ?? []), ...teamVariables()],
    volumeMounts: [...(container.volumeMounts ?? []), ...teamMounts()],
    ports: ports.map(({ name, containerPort }) => ({ name, containerPort, protocol: 'TCP' })),
    resources: { limits: amounts, requests: amounts },
    ...{
      livenessProbe: {
        ...probe,
        initialDelaySeconds: 30,
        timeoutSeconds: 5,
        failureThreshold: 120
      },
      readinessProbe: {
        ...probe,
        initialDelaySeconds: 10,
        timeoutSeconds: 5,
        failureThreshold: 10
      },
      lifecycle: { preStop: { exec: { command: ['/bin/sh', '-c', 'ray stop'] } } }
    }
  }
}

const ports = [
  { name: 'gcs-server', containerPort: 6379 },
  { name: 'dashboard', containerPort: 8265 },
  { name: 'client', containerPort: 10001 },
  { name: 'metrics', containerPort: 8080 },
  { name: 'serve', containerPort: 8000 }
]

const autoscaler: Container = {
  name: 'autoscaler',
  image: 'rayproject/ray:2.58.0',
  imagePullPolicy: 'IfNotPresent',
  command: ['/bin/bash', '-c', '--'],
  args: [
    'ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)'
  ],
  env: [
    {
      name: 'RAY_CLUSTER_NAME',
      valueFrom: { fieldRef: { fieldPath: "metadata.labels['ray.io/cluster']" } }
    },
    { name: 'RAY_CLUSTER_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
    { name: 'RAY_HEAD_POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    { name: 'KUBERAY_CRD_VER', value: 'v1' }
  ],
  volumeMounts: [{ name: 'ray-logs', mountPath: '/tmp/ray' }],
  resources: {
    limits: { cpu: '500m', memory: '512Mi' },
    requests: { cpu: '500m', memory: '512Mi' }
  }
}

const logShipper: Container = {
  name: 'log-shipper',
  image: 'registry.example.com/platform/fluent-bit:3.2.4',
  args: ['--config=/fluent-bit/etc/fluent-bit.yaml'],
  env: [
    {
      name: 'LOKI_URL',
      value: 'http://loki-gateway.monitoring.svc.cluster.local/loki/api/v1/push'
    },
    { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }
  ],
  volumeMounts: [
    { name: 'ray-logs', mountPath: '/tmp/ray', readOnly: true },
    { name: 'log-shipper-config', mountPath: '/fluent-bit/etc', readOnly: true }
  ],
  resources: {
    limits: { cpu: '100m', memory: '128Mi' },
    requests: { cpu: '100m', memory: '128Mi' }
  }
}

const placement = {
  nodeSelector: { 'node.kubernetes.io/pool': 'ray' },
  tolerations: [
    { key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' },
    { key: 'example.com/dedicated', operator: 'Equal', value: 'ray', effect: 'NoSchedule' }
  ],
  affinity: {
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        {
          weight: 100,
          podAffinityTerm: {
            labelSelector: { matchLabels: { 'ray.io/cluster': 'demo' } },
            topologyKey: 'topology.kubernetes.io/zone'
          }
        }
      ]
    }
  },
  terminationGracePeriodSeconds: 60,
  imagePullSecrets: [{ name: 'registry-credentials' }]
}
