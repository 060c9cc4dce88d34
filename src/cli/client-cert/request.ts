/** The request as the API server takes it, and the wait for what becomes of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  clientSigner,
  clientUsages,
  rayClusterAnnotation
} from '../../contract/client-certificates.ts'
import type { Client } from '../../kubernetes/client.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import type { CertificateSigningRequest } from '../../kubernetes/objects.ts'
import { path, signingRequestsPath } from '../../kubernetes/path.ts'

export type ClientAnswer = { request: string } & (
  | { state: 'issued'; pem: string }
  | { state: 'refused'; reason: string; message: string }
  /** Its key is gone: it is of no use any more. `fault`: why it could not be looked at, the last time. */
  | { state: 'unanswered'; because: 'timeout' | 'stopped'; withdrawn: boolean; fault?: string }
)

export interface Question {
  namespace: string
  rayCluster: string
  /** PEM. */
  csr: string
  lifetimeSeconds: number | undefined
  /** Seconds. */
  timeout: number
}

const pauseMs = 300

/** Throws KubernetesError. What comes of nothing is taken back, where this user may. */
export async function askedFor(
  client: Client,
  question: Question,
  signal: AbortSignal
): Promise<ClientAnswer> {
  const created = await client.create<CertificateSigningRequest>(
    signingRequestsPath,
    objectFor(question)
  )
  const { name: request = '' } = created.metadata
  const at = signingRequestsPath + path`/${request}`
  // Most users may not; it is gone by itself within a day.
  const withdraw = () =>
    client.remove(at).then(
      () => true,
      () => false
    )
  try {
    const answer = await awaited(client, at, question.timeout, signal)
    if (answer.state !== 'unanswered') return { request, ...answer }
    const because = signal.aborted ? 'stopped' : 'timeout'
    return { request, ...answer, because, withdrawn: await withdraw() }
  } catch (error) {
    await withdraw()
    throw error
  }
}

async function awaited(client: Client, at: string, timeout: number, signal: AbortSignal) {
  const until = performance.now() + timeout * 1000
  let fault: string | undefined
  while (performance.now() < until && !signal.aborted) {
    try {
      const found = await client.get<CertificateSigningRequest>(at)
      fault = undefined
      const answer = found && answerIn(found)
      if (answer !== undefined) return answer
    } catch (error) {
      if (!passes(error)) throw error
      fault = error.message
    }
    await sleep(pauseMs, undefined, { signal }).catch(() => {})
  }
  return { state: 'unanswered' as const, ...(fault === undefined ? {} : { fault }) }
}

/** An API server that is away for a moment is no reason to throw the key away. */
function passes(error: unknown): error is KubernetesError {
  return error instanceof KubernetesError && /^(Unavailable|Throttled)$/.test(error.code)
}

function objectFor({ namespace, rayCluster, csr, lifetimeSeconds }: Question): object {
  return {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: {
      generateName: 'rayguard-client-',
      annotations: { [rayClusterAnnotation]: `${namespace}/${rayCluster}` }
    },
    spec: {
      signerName: clientSigner,
      request: Buffer.from(csr).toString('base64'),
      usages: clientUsages.slice(0, 2),
      ...(lifetimeSeconds === undefined ? {} : { expirationSeconds: lifetimeSeconds })
    }
  }
}

function answerIn({ status }: CertificateSigningRequest) {
  const no = status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed')
  if (no !== undefined)
    return { state: 'refused' as const, reason: no.reason ?? no.type, message: no.message ?? '' }
  if (!status?.certificate) return undefined
  return { state: 'issued' as const, pem: Buffer.from(status.certificate, 'base64').toString() }
}
