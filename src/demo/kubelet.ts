/**
 * Plays the kubelet for one pod: gives it an address, mounts its token, and runs its first init container as a process.
 */
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  certificateFile,
  enrollContainer,
  keyFile,
  tokenFile,
  trustAnchorsFile
} from '../contract/pod.ts'
import type { EnvVar, Pod } from '../kubernetes/objects.ts'

export interface RunningPod {
  pod: Pod
  address: string
  token: string
  /** Paths of what the agent wrote. */
  files: { certificate: string; key: string; trustAnchors: string }
  exitCode: number
  log: string
}

export interface KubeletOptions {
  directory: string
  /** The program, as arguments of this process's own Node. */
  program: string
  address: string
  issueToken: (pod: Pod) => string
}

export async function runInitContainer(pod: Pod, options: KubeletOptions): Promise<RunningPod> {
  const { address } = options
  const directory = join(options.directory, pod.metadata.name ?? 'pod')
  const tls = join(directory, 'tls')
  await mkdir(tls, { recursive: true })
  const token = options.issueToken(pod)
  await writeFile(join(directory, tokenFile), token, { mode: 0o400 })

  const container = pod.spec.initContainers?.find(one => one.name === enrollContainer)
  const { exitCode, log } = await run(
    process.execPath,
    [
      ...[options.program, 'enroll', '--directory', tls, '--source-address', address],
      ...['--token-file', join(directory, tokenFile)],
      ...['--termination-log', join(directory, 'termination-log'), '--exit-delay', '0']
    ],
    Object.fromEntries((container?.env ?? []).map(entry => [entry.name, resolved(entry, pod)]))
  )
  return {
    pod,
    address,
    token,
    exitCode,
    log,
    files: {
      certificate: join(tls, certificateFile),
      key: join(tls, keyFile),
      trustAnchors: join(tls, trustAnchorsFile)
    }
  }
}

/** The downward API's fields that the patch uses. */
function resolved({ value, valueFrom }: EnvVar, pod: Pod): string {
  switch (valueFrom?.fieldRef?.fieldPath) {
    case 'status.podIPs':
      return (pod.status?.podIPs ?? []).map(entry => entry.ip).join(',')
    case 'metadata.name':
      return pod.metadata.name ?? ''
    case 'metadata.namespace':
      return pod.metadata.namespace ?? ''
    case 'metadata.uid':
      return pod.metadata.uid ?? ''
    default:
      return value ?? ''
  }
}

function run(
  file: string,
  argumentsList: string[],
  environment: Record<string, string>
): Promise<{ exitCode: number; log: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, argumentsList, {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe']
    })
    const chunks: Buffer[] = []
    child.stdout.on('data', chunk => chunks.push(chunk))
    child.stderr.on('data', chunk => chunks.push(chunk))
    child.once('error', reject)
    child.once('close', code =>
      resolve({ exitCode: code ?? 1, log: Buffer.concat(chunks).toString('utf8') })
    )
  })
}
