/**
 * What `POST /dry-run` takes and answers, once: the types of the code and of the page, and `GET /openapi.json`, come from
 * here.
 */
import { type Static, type TSchema, Type } from 'typebox'
import { podSecurityModes, tlsModes } from '../contract/pod.ts'

export const dryRunPath = '/dry-run'
export const maximumBodyBytes = 1024 * 1024

export const outputs = ['json', 'patch', 'yaml', 'diff'] as const

export const dryRunQuery = object({
  output: Type.Optional(
    Type.Enum([...outputs], {
      default: 'json',
      description:
        'json: everything. patch: one JSON patch (RFC 6902) a line, one line for each pod. yaml: the pods as they would run. diff: unified, before and after.'
    })
  ),
  diff: Type.Optional(
    Type.Enum(['true', 'false'], {
      default: 'false',
      description: 'With output=json: whether each result has its unified diff as a member.'
    })
  ),
  profile: Type.Optional(
    Type.Enum([...podSecurityModes], {
      default: 'warn',
      description: 'What happens with what violates Pod Security restricted.'
    })
  ),
  tls: Type.Optional(
    Type.Enum([...tlsModes], {
      default: 'tls',
      description: 'required: no pod may bring TLS of its own. no-tls: no pod gets any.'
    })
  )
})

const operation = Type.Union(
  [
    object({ op: Type.Enum(['add', 'replace']), path: Type.String(), value: Type.Unknown() }),
    object({ op: Type.Literal('remove'), path: Type.String() }),
    object({ op: Type.Literal('move'), from: Type.String(), path: Type.String() })
  ],
  { description: 'An operation of RFC 6902.' }
)

const violation = object(
  { id: Type.String(), reason: Type.String(), detail: Type.String() },
  'In the words of the API server.'
)

const podSecurityReport = object(
  {
    level: Type.Literal('restricted'),
    version: Type.Literal('latest'),
    before: Type.Array(violation),
    after: Type.Optional(Type.Array(violation, { description: 'Absent where the pod is refused.' }))
  },
  'Absent where nobody looks at the pod, and where its shape does not let one.'
)

const certificate = object(
  {
    dnsNames: Type.Array(Type.String()),
    ipAddresses: Type.Array(Type.String()),
    usages: Type.Array(Type.String())
  },
  'What only exists later is shown as such: "<pod IP>". Absent where the pod gets none.'
)

export const dryRunResult = object(
  {
    source: Type.String({ description: 'For people: which document, which item, which pod.' }),
    kind: Type.String({ description: 'The kind that was submitted to admission.' }),
    node: Type.Enum(['head', 'worker', 'submitter', 'redis-cleanup', 'none'], {
      description: 'What the pod is to KubeRay.'
    }),
    allowed: Type.Boolean(),
    message: Type.Optional(Type.String({ description: 'Why it is refused.' })),
    patch: Type.Array(operation, {
      description: 'Empty where nothing is changed and where the pod is refused.'
    }),
    pod: Type.Optional(
      Type.Unknown({ description: 'As it would be stored; absent where it is refused.' })
    ),
    warnings: Type.Array(Type.String()),
    podSecurity: Type.Optional(podSecurityReport),
    certificate: Type.Optional(certificate),
    diff: Type.Optional(
      Type.String({
        description:
          'With diff=true: unified, of the YAML before and after; empty where nothing changes, absent where the pod is refused.'
      })
    )
  },
  'What would become of one pod.'
)

const place = {
  document: Type.Integer({ minimum: 1, description: 'Which document of the text, from one.' }),
  line: Type.Integer({ minimum: 1, description: 'From one.' }),
  column: Type.Integer({ minimum: 1, description: 'From one.' })
}

export const dryRunAnswer = object({
  results: Type.Array(dryRunResult),
  passedOver: Type.Optional(
    Type.Array(object({ ...place, message: Type.String() }), {
      description:
        'Documents of kinds that Rayguard has nothing to do with; absent where there are none.'
    })
  )
})

/** Status of every error. 503 is "again" (with Retry-After), everything else is "never with this request". */
export const dryRunErrors = {
  Query: 400,
  Empty: 400,
  Encoding: 400,
  Malformed: 400,
  DuplicateKey: 400,
  ForbiddenKey: 400,
  TooDeep: 400,
  TooManyAliases: 400,
  BodyTooLarge: 413,
  MediaType: 415,
  ContentEncoding: 415,
  Unsupported: 422,
  TooManyPods: 422,
  TooCostly: 422,
  AnswerTooLarge: 422,
  Overloaded: 503
} as const

export type DryRunErrorCode = keyof typeof dryRunErrors

export const dryRunError = object(
  {
    code: Type.String({
      description: `One of ${Object.keys(dryRunErrors).join(', ')}; others are those of every path.`
    }),
    message: Type.String({
      description: 'For people: what was expected, what was found, what to do.'
    }),
    requestId: Type.String({ description: 'Names the line of the server’s log.' }),
    document: Type.Optional(place.document),
    line: Type.Optional(place.line),
    column: Type.Optional(place.column)
  },
  'Why there is no answer; with a place where the text has one.'
)

export type Output = (typeof outputs)[number]
export type DryRunQuery = Static<typeof dryRunQuery>
export type DryRunResult = Static<typeof dryRunResult>
export type DryRunAnswer = Static<typeof dryRunAnswer>
export type DryRunError = Static<typeof dryRunError>
export type PassedOver = NonNullable<DryRunAnswer['passedOver']>[number]
export type PodSecurityReport = Static<typeof podSecurityReport>
export type Violation = Static<typeof violation>
export type CertificatePreview = Static<typeof certificate>

function object<P extends Record<string, TSchema>>(properties: P, description?: string) {
  const described = description === undefined ? {} : { description }
  return Type.Object(properties, { additionalProperties: false, ...described })
}
