/** The signer of client certificates over the stand-in for the Kubernetes API; openssl makes the requests. */
import type { Test } from 'tap'
import type { Authority } from '../../src/authority/authority.ts'
import { createClientJudge } from '../../src/clients/judge.ts'
import type { Memory } from '../../src/clients/memory.ts'
import { type ClientObservation, createClientSigner } from '../../src/clients/signer.ts'
import { clientSigner, rayClusterAnnotation } from '../../src/contract/client-certificates.ts'
import type { Fault, StandInRequest } from '../../src/demo/stand-in.ts'
import { createKnownKeys } from '../../src/enrollment/keys.ts'
import { createSigning } from '../../src/enrollment/signature.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import type { CertificateSigningRequest } from '../../src/kubernetes/objects.ts'
import type { Workshop } from '../x509/openssl.ts'
import { startStage } from './enrollment-stage.ts'
import { rayCluster } from './ray-objects.ts'

export const { namespace = '', name: cluster = '' } = rayCluster().metadata

export interface Wishes {
  subject?: string
  extensions?: string[]
  spec?: Partial<CertificateSigningRequest['spec']>
  to?: string
}

/** Requests as the API server stores them, with each key's file under the name of its request. */
export function requestsOf(workshop: Workshop) {
  let count = 0
  return ({ subject = '/', extensions = [], spec = {}, to }: Wishes = {}) => {
    count += 1
    const name = `request-${count}`
    workshop.run(
      ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', subject, '-keyout', `${name}.key`, '-out', `${name}.csr`],
      ...extensions.flatMap(each => ['-addext', each])
    )
    const object: CertificateSigningRequest = {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name, annotations: { [rayClusterAnnotation]: to ?? `${namespace}/${cluster}` } },
      spec: {
        username: 'alice',
        groups: ['ray-users', 'system:authenticated'],
        extra: { team: ['a'] },
        signerName: clientSigner,
        usages: ['client auth'],
        request: Buffer.from(workshop.read(`${name}.csr`)).toString('base64'),
        ...spec
      }
    }
    return object
  }
}

export interface Reviewed {
  user?: string
  groups?: string[]
  extra?: object
  resourceAttributes?: object
}

export interface ClientStageOptions {
  replicas?: number
  perUser?: number
  /** Instead of the test's own, which can be bent. */
  authority?: Authority
  /** The test starts the signers. */
  unstarted?: boolean
  /** What the signers remember, where the test looks on. */
  memory?: Memory
}

export async function startClientStage(t: Test, options: ClientStageOptions = {}) {
  const stage = await startStage()
  const { standIn, client, authority, serverCa } = stage
  standIn.put(rayCluster())
  const reviews: Reviewed[] = []
  const faults: unknown[] = []
  const observed: ClientObservation[] = []
  const keys = createKnownKeys()
  let may: (review: Reviewed) => number | Promise<unknown> = () => 201
  let trouble: (request: StandInRequest) => Fault | undefined = () => undefined
  standIn.interfere(request => {
    const { method, path, body } = request
    const troubled = trouble(request)
    if (troubled) return troubled
    if (method === 'POST' && path.endsWith('/certificatesigningrequests')) asMadeBy(body)
    if (!path.endsWith('/subjectaccessreviews')) return undefined
    const { spec } = body as { spec: Reviewed }
    reviews.push(spec)
    const said = may(spec)
    if (typeof said !== 'number') return { until: said }
    if (said !== 201 && said !== 403) return { status: said }
    return { status: 201, body: { status: { allowed: said === 201 } } }
  })
  const signers = Array.from({ length: options.replicas ?? 1 }, () =>
    createClientSigner({
      client,
      judge: createClientJudge({
        ...{ calls: createCalls(client), keys, clock: Date.now },
        perUser: options.perUser ?? 50
      }),
      sign: createSigning(options.authority ?? authority, Date.now),
      lifetimeSeconds: 4 * 3600,
      observe: observation => observed.push(observation),
      onFault: error => faults.push(error),
      onWatchFault: error => faults.push(error),
      random: Math.random,
      clock: () => performance.now(),
      againEveryMs: 30,
      ...(options.memory ? { memory: options.memory } : {})
    })
  )
  const start = () => {
    for (const signer of signers) signer.start()
  }
  if (!options.unstarted) start()
  const stop = () => Promise.all(signers.map(signer => signer.stop()))
  t.teardown(async () => {
    await stop()
    await stage.close()
  })
  const target = { kind: 'CertificateSigningRequest', apiVersion: 'certificates.k8s.io/v1' }
  const read = (name = '') =>
    standIn.store.get({ ...target, namespace: undefined, name }) as
      | CertificateSigningRequest
      | undefined
  const present = () => {
    const all = { ...target, namespace: undefined, name: undefined }
    const list = standIn.store.list(all, new URLSearchParams())
    return (list as { items: CertificateSigningRequest[] }).items
  }
  const until = async <T>(ask: () => T | undefined | false): Promise<T> => {
    for (;;) {
      const answer = ask()
      if (answer !== undefined && answer !== false) return answer
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }
  return {
    ...{
      standIn,
      authority,
      serverCa,
      reviews,
      faults,
      observed,
      keys,
      until,
      read,
      present,
      start,
      stop
    },
    server: stage.server,
    /** What the API server says to a question about a user: 201 yes, 403 no; a promise: yes, but only then. */
    decide(next: typeof may) {
      may = next
    },
    interfere(next: typeof trouble) {
      trouble = next
    },
    async answered(object: CertificateSigningRequest) {
      const { name } = standIn.put(object).metadata
      return until(() => {
        const status = read(name)?.status
        const no = status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed')
        const pem = Buffer.from(status?.certificate ?? '', 'base64').toString()
        return no || pem !== '' ? { ...no, pem, conditions: status?.conditions } : undefined
      })
    }
  }
}

/** What an API server writes itself. */
function asMadeBy(body: unknown): void {
  const { metadata, spec } = body as CertificateSigningRequest
  metadata.name ??= `rayguard-client-${Math.random().toString(36).slice(2)}`
  Object.assign(spec, { username: 'alice', groups: ['ray-users'] })
}
