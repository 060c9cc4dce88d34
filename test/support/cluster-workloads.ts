/** Ray workloads as people write them, small enough for a node with two processors. */
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { rayVersion } from './cluster-ray.ts'

const image = `rayproject/ray:${rayVersion}`
const small = {
  requests: { cpu: '100m', memory: '512Mi' },
  limits: { cpu: '1', memory: '2Gi' }
}

interface Shape {
  workers: { least: number; most: number }
  autoscaler?: boolean
  /** ConfigMap whose files can be imported by Ray's processes. */
  code?: string
}

/** `head` alone takes no tasks, so that a task shows that head and worker speak with each other. */
export function clusterSpec({ workers, autoscaler = false, code }: Shape): object {
  const template = (name: string) => ({
    spec: {
      containers: [
        {
          ...{ name, image, resources: small },
          ...(code === undefined
            ? {}
            : {
                env: [{ name: 'PYTHONPATH', value: '/code' }],
                volumeMounts: [{ name: 'code', mountPath: '/code' }]
              })
        }
      ],
      ...(code === undefined ? {} : { volumes: [{ name: 'code', configMap: { name: code } }] })
    }
  })
  return {
    rayVersion,
    ...(autoscaler
      ? {
          enableInTreeAutoscaling: true,
          autoscalerOptions: { idleTimeoutSeconds: 5, resources: small }
        }
      : {}),
    headGroupSpec: { rayStartParams: { 'num-cpus': '0' }, template: template('ray-head') },
    workerGroupSpecs: [
      {
        groupName: 'small',
        ...{ replicas: workers.least, minReplicas: workers.least, maxReplicas: workers.most },
        rayStartParams: { 'num-cpus': '1' },
        template: template('ray-worker')
      }
    ]
  }
}

/** Succeeds once tasks have run on so many hosts at one time. */
export function jobOverHosts(hosts: number): string {
  const script = [
    'import ray, socket, time',
    'ray.init()',
    '@ray.remote(num_cpus=1)',
    'def host():',
    '  time.sleep(3)',
    '  return socket.gethostname()',
    `seen = set(ray.get([host.remote() for _ in range(${hosts * 4})], timeout=300))`,
    `assert len(seen) >= ${hosts}, seen`
  ].join('\n')
  return `python3 -c 'exec(bytes.fromhex("${Buffer.from(script).toString('hex')}"))'`
}

export function rayJob(name: string, spec: object): KubernetesObject {
  return {
    apiVersion: 'ray.io/v1',
    kind: 'RayJob',
    metadata: { name },
    spec: { shutdownAfterJobFinishes: false, ...spec }
  } as KubernetesObject
}

/** The submitter's own default asks for half a processor. */
export const submitterTemplate = {
  spec: {
    restartPolicy: 'Never',
    containers: [{ name: 'ray-job-submitter', image, resources: small }]
  }
}

/** One replica that says hello, from a module in a ConfigMap. */
export function rayService(name: string): KubernetesObject[] {
  const code = [
    'from ray import serve',
    '@serve.deployment(ray_actor_options={"num_cpus": 0.5})',
    'class Hello:',
    '  def __call__(self, request):',
    '    return "hello over TLS"',
    'app = Hello.bind()'
  ].join('\n')
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `${name}-code` },
      data: { 'hello.py': code }
    } as KubernetesObject,
    {
      apiVersion: 'ray.io/v1',
      kind: 'RayService',
      metadata: { name },
      spec: {
        serveConfigV2:
          'applications:\n  - name: hello\n    import_path: hello:app\n    route_prefix: /\n',
        rayClusterConfig: clusterSpec({ workers: { least: 1, most: 1 }, code: `${name}-code` })
      }
    } as KubernetesObject
  ]
}
