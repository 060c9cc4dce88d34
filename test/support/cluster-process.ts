/**
 * Processes of `rayguard serve` from dist/ on this machine, each with the service account and the rights that
 * manifests/rayguard.yaml gives its component.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually, makeToken } from './cluster.ts'
import { readManifest } from './cluster-manifest.ts'

export type Component = 'webhook' | 'enrollment' | 'replacement'

export interface ServeProcess {
  port: number
  /** Where it answers for its health and its metrics. */
  ops: string
  log(): Promise<string>
  /** The samples of one metric. */
  metrics(name: string): Promise<string[]>
  /** SIGTERM unless another signal is given. */
  stop(signal?: NodeJS.Signals): Promise<void>
}

export interface ServeOptions {
  folder: string
  component: Component
  /** Default: one that is free. */
  port?: number
  /** Of its files; by default that of the component. */
  name?: string
  environment?: Record<string, string>
  /** Beside listeners, kubeconfig and shutdown. */
  settings: Record<string, object | string>
  /** A module that is loaded into the process before the program. */
  preload?: string
  /** Default: waits until it is ready. */
  wait?: boolean
}

const namespace = 'rayguard-system'

/** The namespace, the service accounts and their rights, as the manifest or these objects have them. */
export async function createRights(api: ClusterApi, from?: KubernetesObject[]): Promise<void> {
  const wanted = [
    ...['Namespace', 'ServiceAccount', 'ClusterRole', 'ClusterRoleBinding'],
    ...['Role', 'RoleBinding']
  ]
  const objects = from ?? (await readManifest())
  for (const object of objects.filter(({ kind = '' }) => wanted.includes(kind)))
    await createOnce(api, object)
}

export async function startServe(api: ClusterApi, options: ServeOptions): Promise<ServeProcess> {
  const { folder, component, name = component, settings, preload, wait = true } = options
  const [free = 0, ops = 0] = await freePorts(2)
  const port = options.port ?? free
  const file = join(folder, `${name}.yaml`)
  const text = stringify({
    components: [component],
    listen: {
      ...(component === 'replacement' ? {} : { [component]: { address: '127.0.0.1', port } }),
      ops: { address: '127.0.0.1', port: ops }
    },
    kubernetes: { kubeconfigFile: await kubeconfigOf(api, folder, component) },
    shutdown: { drain: '0s', deadline: '5s' },
    ...settings
  })
  await writeFile(file, text)
  const loaded = preload === undefined ? [] : ['--import', preload]
  const child = spawn(process.execPath, [...loaded, 'dist/rayguard.js', 'serve'], {
    env: { ...options.environment, PATH: process.env.PATH, RAYGUARD_CONFIG: file },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const logFile = join(folder, `${name}.log`)
  const log = createWriteStream(logFile)
  child.stdout.pipe(log)
  child.stderr.pipe(log)
  const running: ServeProcess = {
    port,
    ops: `127.0.0.1:${ops}`,
    log: () => readFile(logFile, 'utf8'),
    async metrics(metric) {
      const page = await (await fetch(`http://127.0.0.1:${ops}/metrics`)).text()
      return page.split('\n').filter(line => line.startsWith(metric))
    },
    stop: (signal = 'SIGTERM') => ended(child, signal)
  }
  if (!wait) return running
  try {
    await eventually(
      `${name} is ready`,
      async () => {
        if (child.exitCode !== null) throw new Error(`${name} ended: ${await running.log()}`)
        const answer = await fetch(`http://127.0.0.1:${ops}/readyz`).catch(() => undefined)
        return answer?.ok
      },
      30_000
    )
  } catch (error) {
    // a child that lives on would keep the test from ending
    await ended(child, 'SIGKILL')
    throw error
  }
  return running
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise(resolve => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill(signal)
  })
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

export async function freePorts(count: number): Promise<number[]> {
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
