/** The request as the API server takes it, and the wait for what becomes of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  clientSigner,
  clientUsages,
  rayClusterAnnotation
} from '../../contract/client-certificates.ts'
import type { Client } from '../../kubernetes/client.ts'
import type { CertificateSigningRequest } from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'

export type ClientAnswer = { request: string } & (
  | { state: 'issued'; pem: string }
  | { state: 'refused'; reason: string; message: string }
  /** Its key is gone: it is of no use any more. */
  | { state: 'unanswered'; because: 'timeout' | 'stopped'; withdrawn: boolean }
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

const collection = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
const pauseMs = 300

/** Throws KubernetesError. */
export async function askedFor(
  client: Client,
  question: Question,
  signal: AbortSignal
): Promise<ClientAnswer> {
  const created = await client.create<CertificateSigningRequest>(collection, objectFor(question))
  const { name: request = '' } = created.metadata
  const at = collection + path`/${request}`
  const until = performance.now() + question.timeout * 1000
  while (performance.now() < until && !signal.aborted) {
    const found = await client.get<CertificateSigningRequest>(at)
    const answer = found && answerIn(found)
    if (answer !== undefined) return { request, ...answer }
    await sleep(pauseMs, undefined, { signal }).catch(() => {})
  }
  // Most users may not; it is gone by itself within a day.
  const withdrawn = await client.remove(at).then(
    () => true,
    () => false
  )
  const because = signal.aborted ? 'stopped' : 'timeout'
  return { request, state: 'unanswered', because, withdrawn }
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
