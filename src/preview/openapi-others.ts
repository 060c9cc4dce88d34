/** The paths of the other listeners, for `GET /openapi.json`. The types of the code hold the schemas to what is sent. */
import { type Static, Type } from 'typebox'
import type { AdmissionAnswer, AdmissionReview } from '../admission/review.ts'
import {
  type CertificateRequest,
  type CertificateResponse,
  certificatesPath,
  type RefusalResponse,
  refusals
} from '../contract/enrollment.ts'

const certificateRequest = Type.Object({
  csr: Type.String({ description: 'PKCS#10, PEM. It asks for no name.' }),
  podIPs: Type.Array(Type.String(), { description: 'The addresses that the pod sees itself.' })
})
const certificateResponse = Type.Object({
  certificate: Type.String({ description: 'PEM, leaf first.' }),
  trustAnchors: Type.String({ description: 'PEM; all that the pod may trust.' }),
  serialNumber: Type.String({ description: 'Hexadecimal.' }),
  notBefore: Type.String({ description: 'RFC 3339.' }),
  notAfter: Type.String({ description: 'RFC 3339.' })
})
const refusal = Type.Object({
  code: Type.Enum(Object.keys(refusals) as RefusalResponse['code'][]),
  message: Type.String(),
  requestId: Type.String({ description: 'Names the line of the server’s log.' })
})
const review = Type.Object({
  apiVersion: Type.Literal('admission.k8s.io/v1'),
  kind: Type.Literal('AdmissionReview'),
  request: Type.Object({
    uid: Type.String(),
    kind: Type.Object({ kind: Type.String() }),
    operation: Type.String(),
    namespace: Type.Optional(Type.String()),
    object: Type.Optional(Type.Unknown())
  })
})
const reviewed = Type.Object({
  apiVersion: Type.Literal('admission.k8s.io/v1'),
  kind: Type.Literal('AdmissionReview'),
  response: Type.Object({
    uid: Type.String(),
    allowed: Type.Boolean(),
    patchType: Type.Optional(Type.Literal('JSONPatch')),
    patch: Type.Optional(Type.String({ description: 'RFC 6902, base64.' })),
    warnings: Type.Optional(Type.Array(Type.String()))
  })
})

/** A compile error where a schema and the code have parted. */
type Holds<Described, Sent extends Described> = [Described, Sent]
export type Described = [
  Holds<Static<typeof certificateRequest>, CertificateRequest>,
  Holds<Static<typeof certificateResponse>, CertificateResponse>,
  Holds<Static<typeof refusal>, RefusalResponse>,
  Holds<Static<typeof review>, AdmissionReview>,
  Holds<Static<typeof reviewed>, AdmissionAnswer>
]

export const otherSchemas = {
  CertificateRequest: certificateRequest,
  CertificateResponse: certificateResponse,
  Refusal: refusal,
  AdmissionReview: review,
  AdmissionAnswer: reviewed
}

export const otherPaths = {
  [certificatesPath]: {
    servers: [{ url: 'https://rayguard-enrollment.rayguard-system.svc' }],
    post: {
      operationId: 'enroll',
      summary: 'A certificate for the pod that holds the token',
      security: [{ podToken: [] }],
      requestBody: body('CertificateRequest'),
      responses: {
        201: reply('Issued.', 'CertificateResponse'),
        default: reply(
          '503: again, after Retry-After; 409: ask for exactly these names; everything else: never.',
          'Refusal'
        )
      }
    }
  },
  '/mutate': {
    servers: [{ url: 'https://rayguard-webhook.rayguard-system.svc' }],
    post: {
      operationId: 'mutate',
      summary: 'The patch of a pod; asked by the API server',
      requestBody: body('AdmissionReview'),
      responses: { 200: reply('Allowed, with a patch or without, or refused.', 'AdmissionAnswer') }
    }
  }
}

function content(schema: keyof typeof otherSchemas) {
  return { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } }
}

function body(schema: keyof typeof otherSchemas) {
  return { required: true, content: content(schema) }
}

function reply(description: string, schema: keyof typeof otherSchemas) {
  return { description, content: content(schema) }
}
