import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { encodeKey, generateKey } from '../agent/key.ts'
import { clientSigner } from '../contract/client-certificates.ts'
import { createCalls } from '../kubernetes/calls.ts'
import type { Client } from '../kubernetes/client.ts'
import type { RayCluster } from '../kubernetes/objects.ts'
import { headServiceCandidates, headServiceNames } from '../ray/head-service.ts'
import { durationSeconds } from '../settings/duration.ts'
import { createCertificateRequest } from '../x509/request.ts'
import { checkAnswer } from './client-cert/answer.ts'
import {
  environmentFile,
  leavePlace,
  placeFor,
  shellQuoted,
  writeClientFiles
} from './client-cert/files.ts'
import { askedFor, type ClientAnswer } from './client-cert/request.ts'
import { clusterFlags, clusterHelp, withCluster, withRights } from './cluster.ts'
import { type Command, type CommandIo, exitCodes, stoppedCode, UsageError } from './command.ts'

const help = `Usage: rayguard client-cert [-n NAMESPACE] RAYCLUSTER [OPTIONS]

Gets a certificate for a driver or a notebook outside the pods, to connect to this RayCluster as a Ray client. The key is
made here and never leaves this machine. The request is a CertificateSigningRequest for ${clientSigner}, made with your
own rights: create and get certificatesigningrequests.certificates.k8s.io, and create rayclusters.ray.io/clientcertificates
of the RayCluster.

Options:
  -n, --namespace NAME   of the RayCluster (default "default")
  --directory DIRECTORY  where tls.crt, tls.key, ca.crt and env.sh go; made if it does not exist
                         (default rayguard-client-NAMESPACE-RAYCLUSTER)
  --lifetime DURATION    how long it is to be valid, like 2h; an hour at least, at most what the installation allows
  --force                replace the files that are there
  --timeout SECONDS      how long to wait for the answer (default 60)
${clusterHelp}
  -h, --help             show this text

Exit codes: 0 the files are there; 1 refused, not answered, or a file is there already; 2 wrong arguments; 130 or 143
stopped by a signal, with no file left.
`

export const command: Command = {
  name: 'client-cert',
  summary: 'get a certificate for a driver or a notebook outside the pods',
  help,
  async run(argumentsList, io) {
    const wishes = readArguments(argumentsList)
    return await withRights('client-cert', () => clientCertificate(wishes, io), io)
  }
}

async function clientCertificate(wishes: Wishes, io: CommandIo): Promise<number> {
  const place = await placeFor(wishes.directory, wishes.force)
  if ('problem' in place) return failed(place.problem, io)
  let written = false
  try {
    const key = await generateKey('P-256')
    const csr = createCertificateRequest(key)
    if (io.signal.aborted) return stopped('before anything was asked for', io)
    const { answer, service } = await withCluster(wishes, async client => {
      const answer = await askedFor(client, { ...wishes, csr }, io.signal)
      const service = answer.state === 'issued' ? await headService(client, wishes) : ''
      return { answer, service }
    })
    if (answer.state === 'unanswered') return unanswered(answer, wishes, io)
    if (answer.state === 'refused')
      return failed(`${answer.request} is refused (${answer.reason}): ${answer.message}`, io)
    const checked = checkAnswer(answer.pem, key, Date.now())
    if ('problem' in checked) return failed(`${answer.request}: ${checked.problem}`, io)
    const { certificate, trustAnchors, notAfter } = checked
    await writeClientFiles(place, { key: encodeKey(key), certificate, trustAnchors })
    written = true
    io.stdout.write(instructions(wishes, place.directory, service, notAfter))
    return exitCodes.ok
  } finally {
    if (!written) await leavePlace(place)
  }
}

/** As its status has it, where this user may see that. */
async function headService(client: Client, { namespace, rayCluster }: Wishes): Promise<string> {
  const reference = { apiVersion: 'ray.io/v1', kind: 'RayCluster', name: rayCluster } as const
  const found = await createCalls(client)
    .rayObject<RayCluster>(namespace, reference)
    .catch(() => undefined)
  const [service = ''] = found ? headServiceCandidates(found) : headServiceNames(rayCluster)
  return service
}

function instructions(
  { namespace, rayCluster }: Wishes,
  directory: string,
  service: string,
  notAfter: string
): string {
  return (
    `A client certificate for RayCluster ${namespace}/${rayCluster}, until ${notAfter}, is in ${directory}.\n\n` +
    `  . ${shellQuoted(join(directory, environmentFile))}\n` +
    `  kubectl -n ${namespace} port-forward service/${service} 10001 &\n` +
    `  python -c 'import ray; ray.init("ray://localhost:10001"); print(ray.cluster_resources())'\n`
  )
}

function failed(problem: string, io: CommandIo): number {
  io.stderr.write(`rayguard client-cert: ${problem}\n`)
  return exitCodes.failed
}

function unanswered(
  { request, because, withdrawn, fault }: ClientAnswer & { state: 'unanswered' },
  { timeout }: Wishes,
  io: CommandIo
): number {
  const left = withdrawn
    ? 'It is taken back.'
    : 'It stays until the API server clears it away; its key is gone.'
  if (because === 'stopped') return stopped(`before ${request} was answered. ${left}`, io)
  const advice =
    fault ??
    'Is clientCertificates.enabled set for Rayguard? `rayguard status` and the log of rayguard-enrollment say more.'
  return failed(`${request} has not been answered within ${timeout} s. ${advice} ${left}`, io)
}

function stopped(when: string, io: CommandIo): number {
  failed(`stopped ${when}`, io)
  return stoppedCode(io.signal)
}

export interface Wishes {
  namespace: string
  rayCluster: string
  directory: string
  lifetimeSeconds: number | undefined
  force: boolean
  /** Seconds. */
  timeout: number
  kubeconfig?: string | undefined
  context?: string | undefined
}

const objectName = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/

function readArguments(argumentsList: string[]): Wishes {
  const { values, positionals } = parseArgs({
    args: argumentsList,
    allowPositionals: true,
    options: {
      namespace: { type: 'string', short: 'n', default: 'default' },
      directory: { type: 'string' },
      lifetime: { type: 'string' },
      force: { type: 'boolean', default: false },
      timeout: { type: 'string', default: '60' },
      ...clusterFlags
    }
  })
  const [rayCluster = ''] = positionals
  const { namespace, lifetime, timeout, force, kubeconfig, context } = values
  if (positionals.length !== 1 || !objectName.test(rayCluster))
    throw new UsageError(
      `expected the name of one RayCluster, found ${JSON.stringify(positionals)}`
    )
  if (!objectName.test(namespace) || namespace.includes('.'))
    throw new UsageError(`--namespace must be the name of one, found ${JSON.stringify(namespace)}`)
  if (!/^[1-9]\d{0,3}$/.test(timeout))
    throw new UsageError(`--timeout must be 1 to 9999 seconds, found ${JSON.stringify(timeout)}`)
  const lifetimeSeconds = lifetime === undefined ? undefined : durationSeconds(lifetime)
  if (lifetime !== undefined && (lifetimeSeconds ?? 0) < 3600)
    throw new UsageError(
      `--lifetime must be a duration of at least 1h, found ${JSON.stringify(lifetime)}`
    )
  return {
    ...{ namespace, rayCluster, lifetimeSeconds, force, kubeconfig, context },
    directory: values.directory ?? `rayguard-client-${namespace}-${rayCluster}`,
    timeout: Number(timeout)
  }
}
