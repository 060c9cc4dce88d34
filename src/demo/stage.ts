/**
 * Everything that the demonstration runs on: a folder, a CA, the stand-in for the Kubernetes API, and the real server as
 * a process of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import { freePort } from './addresses.ts'
import type { ServingPair } from './serving-pair.ts'
import { createStandIn, type StandIn } from './stand-in.ts'

export interface Stage {
  directory: string
  /** The bundled program. */
  program: string
  standIn: StandIn
  webhookUrl: string
  enrollmentUrl: string
  /** PEM; who vouches for the listeners. */
  serverCa: string
  trust: Trust
  close(): Promise<void>
}

export type Trust = 'perCluster' | 'shared'

export interface StageOptions {
  directory: string
  program: string
  serving: ServingPair
  /** As in the settings. */
  authority: Record<string, unknown>
  /** Of the server's process. */
  environment: Record<string, string>
  trust: Trust
  image: string
}

const host = '127.0.0.1'
const clientToken = 'demonstration'

export async function setStage(options: StageOptions): Promise<Stage> {
  const { directory, program, serving } = options
  const standIn = createStandIn({
    certificate: serving.certificate,
    privateKey: serving.privateKey,
    clientToken,
    clock: Date.now
  })
  const apiUrl = await standIn.listen({ host })
  const ports = {
    webhook: await freePort(host),
    enrollment: await freePort(host),
    ops: await freePort(host)
  }
  const files = {
    certificate: join(directory, 'serving.crt'),
    privateKey: join(directory, 'serving.key'),
    ca: join(directory, 'serving-ca.crt'),
    kubeconfig: join(directory, 'kubeconfig.yaml'),
    settings: join(directory, 'config.yaml')
  }
  await writeFile(files.certificate, serving.certificate)
  await writeFile(files.privateKey, serving.privateKey, { mode: 0o600 })
  await writeFile(files.ca, serving.ca)
  await writeFile(files.kubeconfig, kubeconfig(apiUrl, serving.ca), { mode: 0o600 })
  const { authority, trust } = options
  await writeFile(
    files.settings,
    stringify({
      listen: {
        webhook: { address: host, port: ports.webhook },
        enrollment: { address: host, port: ports.enrollment },
        ops: { address: host, port: ports.ops }
      },
      serving: {
        kind: 'files',
        certificateFile: files.certificate,
        privateKeyFile: files.privateKey
      },
      kubernetes: { kubeconfigFile: files.kubeconfig },
      injection: {
        image: options.image,
        serverUrl: `https://${host}:${ports.enrollment}`,
        serverCaFile: files.ca
      },
      authority,
      trust,
      shutdown: { drain: '0s', deadline: '2s' },
      log: { level: 'info' }
    })
  )
  const server = spawn(process.execPath, [program, 'serve', '--config', files.settings], {
    env: options.environment,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const log: Buffer[] = []
  server.stdout?.on('data', chunk => log.push(chunk))
  server.stderr?.on('data', chunk => log.push(chunk))
  try {
    await ready(server, ports.ops, () => Buffer.concat(log).toString('utf8'))
  } catch (error) {
    server.kill('SIGKILL')
    await standIn.close()
    throw error
  }
  return {
    directory,
    program,
    standIn,
    webhookUrl: `https://${host}:${ports.webhook}`,
    enrollmentUrl: `https://${host}:${ports.enrollment}`,
    serverCa: serving.ca,
    trust,
    async close() {
      const ended = new Promise(resolve => server.once('exit', resolve))
      if (server.exitCode === null && server.kill('SIGTERM')) await ended
      await standIn.close()
    }
  }
}

function kubeconfig(server: string, ca: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'stand-in',
        cluster: { server, 'certificate-authority-data': Buffer.from(ca).toString('base64') }
      }
    ],
    users: [{ name: 'rayguard', user: { token: clientToken } }],
    contexts: [{ name: 'demo', context: { cluster: 'stand-in', user: 'rayguard' } }],
    'current-context': 'demo'
  })
}

async function ready(server: ChildProcess, port: number, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (server.exitCode !== null) throw new Error(`The server ended at its start:\n${log()}`)
    if ((await statusOf(port)) === 200) return
    await sleep(50)
  }
  throw new Error(`The server was not ready within ten seconds:\n${log()}`)
}

function statusOf(port: number): Promise<number> {
  return new Promise(resolve => {
    request({ host, port, path: '/readyz' }, response => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
      .on('error', () => resolve(0))
      .end()
  })
}
