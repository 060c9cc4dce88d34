/**
 * What the real server runs on in a bench: a scratch folder, CAs, and the stand-in for the Kubernetes API as a process of
 * its own, so that its work is on nobody's event loop.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { freePort } from '../src/demo/addresses.ts'
import { demoNamespace, namespaceOf } from '../src/demo/pods.ts'
import type { KubernetesObject } from '../src/kubernetes/objects.ts'
import type { BackEnd } from './back-ends.ts'
import { type Ca, createCa, createServingPair, type ServingPair } from './certificates.ts'
import { startProcess } from './processes.ts'
import { image } from './settings.ts'

/** The bundled program beside the bench's own bundle. */
export const program = fileURLToPath(import.meta.resolve('../rayguard.js'))

/** For the server alone, as `--cpu-prof --cpu-prof-dir=/tmp/profile`. */
const nodeFlags = (process.env.BENCH_NODE_FLAGS ?? '').split(' ').filter(flag => flag !== '')

export const host = '127.0.0.1'
const clientToken = 'bench'
const putAtOnce = 100

export interface Stage {
  directory: string
  servingCa: Ca
  serving: ServingPair
  /** Stores objects in the stand-in; answers a token for each pod among them. */
  put(objects: KubernetesObject[]): Promise<string[]>
  serve(components: Component[], options?: ServeOptions): Promise<Server>
  close(): Promise<void>
}

export type Component = 'webhook' | 'enrollment' | 'preview'

export interface ServeOptions {
  /** Where pods are told to enroll; otherwise at this server. */
  enrollmentUrl?: string
  /** Otherwise a CA in files. */
  backEnd?: Pick<BackEnd, 'settings' | 'environment' | 'signer'>
  /** As the program has it, if not said: each RayCluster has a CA of its own. */
  trust?: 'shared'
}

export interface Server {
  pid: number
  /** From the start of the process to the first `/readyz` that is 200. */
  readyMs: number
  webhookUrl: string
  enrollmentUrl: string
  previewUrl: string
  log(): string
  close(): Promise<void>
}

export async function openStage(): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), 'rayguard-bench-'))
  const servingCa = await createCa('bench serving')
  const podCa = await createCa('bench pods', 'P-256', 1)
  const serving = await createServingPair(servingCa)
  const standIn = startProcess('stand-in')
  const apiUrl = await standIn.call<string>('listen', { ...serving, clientToken })
  await standIn.call('put', [namespaceOf(demoNamespace)])
  const path = (name: string) => join(directory, name)
  await writeFile(path('serving.crt'), serving.certificate)
  await writeFile(path('serving.key'), serving.privateKey, { mode: 0o600 })
  await writeFile(path('serving-ca.crt'), servingCa.certificate)
  await writeFile(path('ca.crt'), podCa.certificate)
  await writeFile(path('ca.key'), podCa.privateKey, { mode: 0o600 })
  await writeFile(path('kubeconfig.yaml'), kubeconfig(apiUrl, servingCa.certificate))
  const servers: Server[] = []

  return {
    directory,
    servingCa,
    serving,
    async put(objects) {
      const tokens: string[] = []
      // Megabytes in one message between processes have been seen to get stuck.
      for (let at = 0; at < objects.length; at += putAtOnce) {
        tokens.push(...(await standIn.call<string[]>('put', objects.slice(at, at + putAtOnce))))
      }
      return tokens
    },
    async serve(components, options = {}) {
      if (options.backEnd?.signer) await standIn.call('sign', options.backEnd.signer)
      const settings = await writeSettings(directory, components, options)
      const server = await startServer(settings, options.backEnd?.environment ?? {})
      servers.push(server)
      return server
    },
    async close() {
      await Promise.all(servers.map(server => server.close()))
      await standIn.close()
      await rm(directory, { recursive: true, force: true })
    }
  }
}

interface Written {
  file: string
  ports: Record<Component | 'ops', number>
}

async function writeSettings(
  directory: string,
  components: Component[],
  { enrollmentUrl, backEnd, trust }: ServeOptions
): Promise<Written> {
  const ports = {
    webhook: await freePort(host),
    enrollment: await freePort(host),
    preview: await freePort(host),
    ops: await freePort(host)
  }
  const path = (name: string) => join(directory, name)
  const file = path(`config-${ports.ops}.yaml`)
  const listener = (port: number) => ({ address: host, port })
  await writeFile(
    file,
    stringify({
      components,
      listen: {
        webhook: listener(ports.webhook),
        enrollment: listener(ports.enrollment),
        preview: listener(ports.preview),
        ops: listener(ports.ops)
      },
      serving: {
        kind: 'files',
        certificateFile: path('serving.crt'),
        privateKeyFile: path('serving.key')
      },
      kubernetes: { kubeconfigFile: path('kubeconfig.yaml') },
      injection: {
        image,
        serverUrl: enrollmentUrl ?? `https://${host}:${ports.enrollment}`,
        serverCaFile: path('serving-ca.crt')
      },
      enrollment: {
        quota: { perPod: 10_000, perNamespace: 1_000_000, clustersPerNamespace: 500 }
      },
      authority: backEnd?.settings ?? {
        kind: 'pem',
        certificateFile: path('ca.crt'),
        privateKeyFile: path('ca.key')
      },
      ...(trust === undefined ? {} : { trust }),
      shutdown: { drain: '0s', deadline: '2s' },
      log: { level: 'info' }
    })
  )
  return { file, ports }
}

async function startServer(
  { file, ports }: Written,
  environment: Record<string, string>
): Promise<Server> {
  const start = performance.now()
  const child = spawn(process.execPath, [...nodeFlags, program, 'serve', '--config', file], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const log: Buffer[] = []
  child.stdout.on('data', chunk => log.push(chunk))
  child.stderr.on('data', chunk => log.push(chunk))
  const text = () => Buffer.concat(log).toString('utf8')
  await ready(child, ports.ops, text)
  return {
    pid: child.pid ?? 0,
    readyMs: performance.now() - start,
    webhookUrl: `https://${host}:${ports.webhook}`,
    enrollmentUrl: `https://${host}:${ports.enrollment}`,
    previewUrl: `https://${host}:${ports.preview}`,
    log: text,
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    }
  }
}

async function ready(child: ChildProcess, port: number, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 5000; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`The server ended at its start:\n${log()}`)
    if ((await statusOf(port)) === 200) return
    await sleep(3)
  }
  child.kill('SIGKILL')
  throw new Error(`The server was not ready in time:\n${log()}`)
}

function statusOf(port: number): Promise<number> {
  return new Promise(resolve => {
    request({ host, port, path: '/readyz', agent: false }, response => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
      .on('error', () => resolve(0))
      .end()
  })
}

function kubeconfig(server: string, ca: string): string {
  const authority = Buffer.from(ca).toString('base64')
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'stand-in', cluster: { server, 'certificate-authority-data': authority } }],
    users: [{ name: 'rayguard', user: { token: clientToken } }],
    contexts: [{ name: 'bench', context: { cluster: 'stand-in', user: 'rayguard' } }],
    'current-context': 'bench'
  })
}
