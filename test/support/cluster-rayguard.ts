/**
 * Rayguard from dist/, as two processes of this machine with the service accounts and rights of manifests/rayguard.yaml,
 * registered by URL. What differs from an installation is only where the processes run.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually, makeToken } from './cluster.ts'
import { makeCa, makePair, type TestCa } from './cluster-certificates.ts'
import { readManifest } from './cluster-manifest.ts'

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

const namespace = 'rayguard-system'
const image = 'registry.test/rayguard:0.1.0'
const components = ['webhook', 'enrollment'] as const
type Component = (typeof components)[number]

export async function startRayguard(
  api: ClusterApi,
  folder: string,
  settings: Record<string, object> = {}
): Promise<RunningRayguard> {
  const objects = await readManifest()
  const wanted = [
    ...['Namespace', 'ServiceAccount', 'ClusterRole', 'ClusterRoleBinding'],
    ...['Role', 'RoleBinding']
  ]
  for (const object of objects.filter(({ kind = '' }) => wanted.includes(kind)))
    await createOnce(api, object)

  const ca = makeCa(folder, 'ray-pods')
  const servingCa = makeCa(folder, 'serving-ca')
  const serving = makePair(folder, 'serving', servingCa, 'IP:127.0.0.1')
  const [webhook, enrollment, webhookOps, enrollmentOps] = await freePorts(4)
  const webhookUrl = `https://127.0.0.1:${webhook}`
  const enrollmentUrl = `https://127.0.0.1:${enrollment}`

  async function start(component: Component, port: number, ops: number): Promise<void> {
    const kubeconfigFile = await kubeconfigOf(api, folder, component)
    const file = join(folder, `${component}.yaml`)
    const text = stringify({
      components: [component],
      listen: {
        [component]: { address: '127.0.0.1', port },
        ops: { address: '127.0.0.1', port: ops }
      },
      serving: { kind: 'files', ...serving },
      kubernetes: { kubeconfigFile },
      injection: { image, serverUrl: enrollmentUrl, serverCaFile: servingCa.certificateFile },
      shutdown: { drain: '0s', deadline: '5s' },
      ...(component === 'enrollment'
        ? {
            authority: {
              kind: 'pem',
              certificateFile: ca.certificateFile,
              privateKeyFile: ca.privateKeyFile
            }
          }
        : {}),
      ...settings
    })
    await writeFile(file, text)
    const child = spawn(process.execPath, ['dist/rayguard.js', 'serve'], {
      env: { PATH: process.env.PATH, RAYGUARD_CONFIG: file },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    children.push(child)
    const log = createWriteStream(join(folder, `${component}.log`))
    child.stdout.pipe(log)
    child.stderr.pipe(log)
    await eventually(
      `${component} is ready`,
      async () => {
        if (child.exitCode !== null) {
          throw new Error(
            `${component} ended: ${await readFile(join(folder, `${component}.log`), 'utf8')}`
          )
        }
        const answer = await fetch(`http://127.0.0.1:${ops}/readyz`).catch(() => undefined)
        return answer?.ok
      },
      30_000
    )
  }

  const children: ChildProcess[] = []
  try {
    await start('webhook', webhook ?? 0, webhookOps ?? 0)
    await start('enrollment', enrollment ?? 0, enrollmentOps ?? 0)
  } catch (error) {
    // a child that lives on would keep the test from ending
    for (const child of children) child.kill('SIGKILL')
    throw error
  }
  const configurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'

  return {
    ca,
    webhookUrl,
    enrollmentUrl,
    servingCa: servingCa.certificate,
    image,
    opsAddresses: [webhookOps, enrollmentOps].map(port => `127.0.0.1:${port}`),
    async metrics(name) {
      const pages = await Promise.all(
        [webhookOps, enrollmentOps].map(async port =>
          (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
        )
      )
      return pages.flatMap(page => page.split('\n')).filter(line => line.startsWith(name))
    },
    async log() {
      const texts = components.map(component => readFile(join(folder, `${component}.log`), 'utf8'))
      return (await Promise.all(texts)).join('\n')
    },
    async register() {
      const [registration] = objects.filter(({ kind }) => kind === 'MutatingWebhookConfiguration')
      await api.create(configurations, byUrl(registration, webhookUrl, servingCa.certificate))
      // the API server learns of it by a watch; a dry run of a Ray pod says when
      await eventually('the registration is in force', () => inForce(api))
    },
    unregister: () => api.delete(`${configurations}/rayguard`),
    async stop() {
      const ended = children.map(
        child =>
          new Promise<void>(resolve => {
            if (child.exitCode !== null || child.signalCode !== null) resolve()
            child.once('exit', () => resolve())
          })
      )
      for (const child of children) child.kill('SIGTERM')
      await Promise.all(ended)
    }
  }
}

async function createOnce(api: ClusterApi, object: KubernetesObject): Promise<void> {
  const { apiVersion = '', kind = '', metadata } = object
  const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const scope = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`
  const collection = `${group}${scope}/${kind.toLowerCase()}s`
  if ((await api.find(`${collection}/${metadata.name}`)) === undefined)
    await api.create(collection, object)
}

async function kubeconfigOf(api: ClusterApi, folder: string, component: Component) {
  const file = join(folder, `${component}.kubeconfig`)
  const token = await makeToken(api, namespace, `rayguard-${component}`)
  const caFile = join(folder, 'cluster-ca.crt')
  await writeFile(caFile, api.ca)
  const cluster = { server: api.server, 'certificate-authority': caFile }
  await writeFile(
    file,
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster }],
      users: [{ name: component, user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: component } }],
      'current-context': 'test'
    })
  )
  return file
}

function byUrl(registration: KubernetesObject | undefined, url: string, ca: string): object {
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

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(
    servers.map(server => new Promise(resolve => server.once('listening', resolve)))
  )
  return servers.map(server => {
    const address = server.address()
    server.close()
    return typeof address === 'object' && address !== null ? address.port : 0
  })
}
