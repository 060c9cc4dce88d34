/**
 * Other mutating webhooks that a cluster may have, as real HTTPS servers that are registered by URL: one that records what
 * the API server sends, one that changes pods after Rayguard has.
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { Operation } from 'fast-json-patch'
import type { AdmissionReview } from '../../src/admission/review.ts'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'
import type { ClusterApi } from './cluster.ts'
import { makePair, type TestCa } from './cluster-certificates.ts'

export interface OtherWebhook {
  stop(): Promise<void>
}

export interface OtherWebhookOptions {
  /** Webhooks are called in the order of their configurations' names. */
  name: string
  folder: string
  ca: TestCa
  /** Only in namespaces with this label. */
  namespaceLabel: string
  respond(review: AdmissionReview): Operation[]
}

const configurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'

export async function startWebhook(
  api: ClusterApi,
  options: OtherWebhookOptions
): Promise<OtherWebhook> {
  const { name, folder, ca, namespaceLabel, respond } = options
  const pair = makePair(folder, name, ca, 'IP:127.0.0.1')
  const server = createServer(
    { cert: readFileSync(pair.certificateFile), key: readFileSync(pair.privateKeyFile) },
    (incoming, outgoing) => {
      const chunks: Buffer[] = []
      incoming.on('data', chunk => chunks.push(chunk))
      incoming.once('end', () => {
        const review = JSON.parse(Buffer.concat(chunks).toString()) as AdmissionReview
        const operations = respond(review)
        const patch = Buffer.from(JSON.stringify(operations)).toString('base64')
        const response = {
          uid: review.request.uid,
          allowed: true,
          ...(operations.length > 0 ? { patchType: 'JSONPatch', patch } : {})
        }
        outgoing.setHeader('content-type', 'application/json')
        outgoing.end(
          JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response })
        )
      })
    }
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const core = { apiGroups: [''], apiVersions: ['v1'] }
  await api.create(configurations, {
    metadata: { name },
    webhooks: [
      {
        name: `${name}.rayguard.test`,
        admissionReviewVersions: ['v1'],
        clientConfig: {
          url: `https://127.0.0.1:${port}/`,
          caBundle: Buffer.from(ca.certificate).toString('base64')
        },
        namespaceSelector: { matchLabels: { [namespaceLabel]: 'yes' } },
        rules: [
          { ...core, operations: ['CREATE'], resources: ['pods'] },
          { ...core, operations: ['UPDATE'], resources: ['pods/ephemeralcontainers'] }
        ],
        sideEffects: 'None'
      }
    ]
  })
  return {
    async stop() {
      await api.delete(`${configurations}/${name}`)
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

/** Adds a sidecar and a variable, as meshes and log collectors do; asked again, it leaves the pod alone. */
export function addSidecar(review: AdmissionReview, sidecar: Container): Operation[] {
  const pod = review.request.object as Pod
  if (pod.spec.containers.some(({ name }) => name === sidecar.name)) return []
  const variable = { name: 'ADDED_BY_ANOTHER', value: 'yes' }
  const env = pod.spec.containers[0]?.env
  return [
    { op: 'add', path: '/spec/containers/-', value: sidecar },
    env
      ? { op: 'add', path: '/spec/containers/0/env/-', value: variable }
      : { op: 'add', path: '/spec/containers/0/env', value: [variable] }
  ]
}
