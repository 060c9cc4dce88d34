/**
 * Rayguard from dist/, as two processes of this machine with the service accounts and rights of manifests/rayguard.yaml,
 * registered by URL. What differs from an installation is only where the processes run.
 */
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from './cluster.ts'
import { makeCa, makePair, type TestCa } from './cluster-certificates.ts'
import { readManifest } from './cluster-manifest.ts'
import { type Component, createRights, freePorts, startServe } from './cluster-process.ts'

export interface RunningRayguard {
  /** The CA that signs pods. */
  ca: TestCa
  webhookUrl: string
  enrollmentUrl: string
  /** The CA that vouches for the enrollment listener. */
  servingCa: string
  image: string
  /** Where each process answers for its health and its metrics. */
  opsAddresses: string[]
  /** The text of one metric's samples, of both processes. */
  metrics(name: string): Promise<string[]>
  /** Everything that both have logged. */
  log(): Promise<string>
  register(): Promise<void>
  unregister(): Promise<void>
  stop(): Promise<void>
}

const image = 'registry.test/rayguard:0.1.0'

export async function startRayguard(
  api: ClusterApi,
  folder: string,
  settings: Record<string, object | string> = {},
  environment: Record<string, string> = {}
): Promise<RunningRayguard> {
  const objects = await readManifest()
  await createRights(api)

  const ca = makeCa(folder, 'ray-pods', 60)
  const servingCa = makeCa(folder, 'serving-ca')
  const serving = makePair(folder, 'serving', servingCa, 'IP:127.0.0.1')
  const [port = 0] = await freePorts(1)
  const enrollmentUrl = `https://127.0.0.1:${port}`

  const start = (component: Component, own: Record<string, object | string>) =>
    startServe(api, {
      folder,
      component,
      environment,
      ...(component === 'enrollment' ? { port } : {}),
      settings: {
        serving: { kind: 'files', ...serving },
        injection: { image, serverUrl: enrollmentUrl, serverCaFile: servingCa.certificateFile },
        ...own,
        ...settings
      }
    })
  const webhook = await start('webhook', {})
  const { certificateFile, privateKeyFile } = ca
  const enrollment = await start('enrollment', {
    authority: { kind: 'pem', certificateFile, privateKeyFile }
  }).catch(async error => {
    await webhook.stop('SIGKILL')
    throw error
  })
  const processes = [webhook, enrollment]
  const webhookUrl = `https://127.0.0.1:${webhook.port}`
  const registrations = objects.filter(({ kind = '' }) => kind.endsWith('WebhookConfiguration'))
  const group = '/apis/admissionregistration.k8s.io/v1'
  const configurations = ({ kind = '' }) => `${group}/${kind.toLowerCase()}s`

  return {
    ca,
    webhookUrl,
    enrollmentUrl,
    servingCa: servingCa.certificate,
    image,
    opsAddresses: processes.map(({ ops }) => ops),
    metrics: async name => (await Promise.all(processes.map(each => each.metrics(name)))).flat(),
    log: async () => (await Promise.all(processes.map(each => each.log()))).join('\n'),
    async register() {
      for (const each of registrations)
        await api.create(configurations(each), byUrl(each, webhookUrl, servingCa.certificate))
      // the API server learns of it by a watch; a dry run of a Ray pod says when
      await eventually('the registration is in force', () => inForce(api))
    },
    async unregister() {
      for (const each of registrations) await api.delete(`${configurations(each)}/rayguard`)
    },
    async stop() {
      await Promise.all(processes.map(each => each.stop()))
    }
  }
}

function byUrl(registration: KubernetesObject, url: string, ca: string): object {
  const { webhooks, ...rest } = registration as KubernetesObject & {
    webhooks: { clientConfig: { service: { path: string } } }[]
  }
  return {
    ...rest,
    webhooks: webhooks.map(({ clientConfig, ...webhook }) => ({
      ...webhook,
      clientConfig: {
        url: `${url}${clientConfig.service.path}`,
        caBundle: Buffer.from(ca).toString('base64')
      }
    }))
  }
}

async function inForce(api: ClusterApi): Promise<boolean> {
  const pod = await api.create<{ spec: { initContainers?: { name: string }[] } }>(
    '/api/v1/namespaces/default/pods?dryRun=All',
    {
      metadata: {
        name: 'probe',
        labels: { 'ray.io/cluster': 'probe', 'ray.io/node-type': 'worker' }
      },
      spec: { containers: [{ name: 'ray', image: 'ray' }] }
    }
  )
  return pod.spec.initContainers?.some(({ name }) => name === 'rayguard-enroll') ?? false
}
