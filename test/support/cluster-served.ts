/**
 * The webhook under the name of its Service, where no pods run: the API server follows a name to a process of this machine,
 * and asks it for the certificate of the Service as in any cluster.
 */
import { connect as connectTls } from 'node:tls'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from './cluster.ts'
import { kubectl, run } from './cluster-kubectl.ts'
import type { Component, ServeProcess } from './cluster-process.ts'

const own = 'rayguard-system'

/**
 * A name in place of a network: nothing routes to Services here, but the API server follows such a name, and asks for the
 * certificate of the Service all the same. The endpoint is what `register` looks for.
 */
export function namedService(): KubernetesObject[] {
  const name = 'rayguard-webhook'
  return [
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: own } },
      spec: { type: 'ExternalName', externalName: 'localhost' }
    } as KubernetesObject,
    {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
      metadata: { name, namespace: own, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['192.0.2.1'], conditions: { ready: true } }],
      ports: [{ name: 'https', port: 8443 }]
    } as KubernetesObject
  ]
}

/** Has the API server go to this replica: behind such a name there is no port 443. */
export async function direct(
  api: ClusterApi,
  replica: ServeProcess,
  namespace: string
): Promise<void> {
  for (const [kind, entries] of [
    ['mutatingwebhookconfiguration', [0, 1]],
    ['validatingwebhookconfiguration', [0]]
  ] as const) {
    const edit = entries.map(at => ({
      ...{ op: 'replace', path: `/webhooks/${at}/clientConfig/service/port`, value: replica.port }
    }))
    await kubectl(['patch', kind, 'rayguard', '--type=json', `--patch=${JSON.stringify(edit)}`])
  }
  // the API server learns of it by a watch
  const before = await asked(replica)
  await eventually('the API server goes there', async () => {
    await injected(api, namespace).catch(() => false)
    return (await asked(replica)) > before
  })
}

async function asked(replica: ServeProcess): Promise<number> {
  const samples = await replica.metrics('rayguard_admissions_total{')
  return samples.reduce((sum, sample) => sum + Number(sample.split(' ').at(-1)), 0)
}

/** Whether somebody who trusts this CA alone gets through to the Service of that name. */
export function trusts(component: Component, port: number, ca: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const servername = `rayguard-${component}.${own}.svc`
    const socket = connectTls({ host: '127.0.0.1', port, ca, servername }, () => {
      resolve(socket.authorized)
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

export async function injected(api: ClusterApi, namespace: string): Promise<boolean> {
  const labels = { 'ray.io/cluster': 'probe', 'ray.io/node-type': 'worker' }
  const pod = await makes(api, namespace, labels)
  return pod.spec.initContainers?.some(({ name }) => name === 'rayguard-enroll') ?? false
}

/** What kubectl prints on standard error for somebody who would apply a plain RayCluster. */
export async function warned(namespace: string): Promise<string> {
  const template = { spec: { containers: [{ name: 'ray', image: 'rayproject/ray:2.58.0' }] } }
  const cluster = {
    ...{ apiVersion: 'ray.io/v1', kind: 'RayCluster', metadata: { name: 'probe', namespace } },
    spec: { headGroupSpec: { rayStartParams: {}, template } }
  }
  const flags = ['create', '--dry-run=server', '-f', '-']
  return (await run('kubectl', flags, JSON.stringify(cluster))).stderr
}

export function makes(
  api: ClusterApi,
  namespace: string,
  labels: Record<string, string>
): Promise<Pod> {
  return api.create<Pod>(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, {
    metadata: { name: 'probe', labels },
    spec: {
      ...restricted.pod,
      containers: [{ name: 'ray', image: 'ray', securityContext: restricted.container }]
    }
  })
}

/** What our own namespace enforces. */
const restricted = {
  pod: { securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } },
  container: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
}
