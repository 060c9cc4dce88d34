/**
 * Every setting: its type, default and meaning. The file, the environment, the checks and docs/settings.md come from here.
 *
 * Decides what a value may look like alone; rules between several settings stand in rules.ts. Never reads anything.
 */
import { type Static, type TSchema, Type } from 'typebox'
import { authoritySchema } from './authority-schema.ts'
import { identifier, list, path, section, text } from './schema-pieces.ts'

export const componentNames = ['webhook', 'enrollment', 'preview', 'replacement'] as const
export type Component = (typeof componentNames)[number]

/** Where `serving.kind: files` looks when it is not told. */
export const servingFiles = {
  certificateFile: '/etc/rayguard/serving/tls.crt',
  privateKeyFile: '/etc/rayguard/serving/tls.key'
} as const

export const schema = section('', {
  components: Type.Array(Type.Enum([...componentNames]), {
    default: ['webhook', 'enrollment'],
    minItems: 1,
    uniqueItems: true,
    description:
      'What this process serves. In a cluster each is a Deployment of its own, so that what parses the objects of the API server holds no signer. `preview` answers dry runs; it needs no right in the cluster and no authority. `replacement` evicts pods before their certificates end; see docs/expiry.md.'
  }),
  listen: section('Where the listeners are.', {
    webhook: listener('the API server sends admission reviews (HTTPS)', 8443, {
      clientCaFile: Type.Optional(
        path(
          'PEM: the CA of the API server’s client certificate for webhooks; then nobody else can connect. Use a CA that signs nothing else. Without it everybody who reaches the port may ask.'
        )
      )
    }),
    enrollment: listener('pods ask for their certificates (HTTPS)', 8444),
    preview: listener('people and CI ask for dry runs (HTTPS)', 8445),
    ops: listener('probes and metrics are answered (plain HTTP)', 8080)
  }),
  serving: section('The server certificates of the HTTPS listeners.', {
    kind: Type.Enum(['selfManaged', 'files'], {
      default: 'selfManaged',
      description:
        '`selfManaged`: the webhook and the enrollment server each keep a small CA and a certificate in a Secret and renew them; the preview makes a certificate at its start, which nobody can verify. `files`: one pair for all, read anew when the files change.'
    }),
    certificateFile: Type.Optional(
      path(
        `With \`files\`. PEM: the certificate, then its intermediates. Without it: ${servingFiles.certificateFile}.`
      )
    ),
    privateKeyFile: Type.Optional(
      path(
        `With \`files\`. PEM: its private key, not encrypted. Without it: ${servingFiles.privateKeyFile}.`
      )
    )
  }),
  registration: section('How the API server learns whom to trust.', {
    caBundleFile: Type.Optional(
      path(
        'With `serving.kind: files`: PEM that the webhook writes into the caBundle of its registration. Without it the caBundle is somebody else’s, such as cert-manager’s.'
      )
    )
  }),
  kubernetes: section('How the Kubernetes API is reached.', {
    kubeconfigFile: Type.Optional(
      path('A kubeconfig; its current context is used. Without it: the pod’s own service account.')
    ),
    namespace: Type.Optional(
      text(
        'object-name',
        'The namespace of Rayguard itself. Without it: that of the pod’s service account, else rayguard-system.'
      )
    ),
    clusterDomain: text('dns-name', 'The DNS domain of the cluster.', { default: 'cluster.local' })
  }),
  injection: section('What the webhook puts into pods.', {
    image: Type.Optional(
      text(
        'image',
        'Image of the init container, by digest where it can be. The enrollment server gives certificates only to pods that carry it. The preview component alone can go without.'
      )
    ),
    formerImages: list(text('image'), 'Images of earlier versions whose pods may still enroll.'),
    imageMirrors: list(
      text('image'),
      'Names under which a registry mirror shows the image; their pods may enroll too.'
    ),
    imagePullPolicy: Type.Enum(['IfNotPresent', 'Always', 'Never'], {
      default: 'IfNotPresent',
      description: 'Pull policy of the init container.'
    }),
    imagePullSecrets: list(
      text('object-name'),
      'Names of pull secrets that are appended to the pod; they must exist in its namespace.'
    ),
    serverUrl: Type.Optional(
      text(
        'https-url',
        'Where pods reach the enrollment listener. Without it: `https://rayguard-enrollment.NAMESPACE.svc`, with the namespace of Rayguard.'
      )
    ),
    serverCaFile: Type.Optional(
      path(
        'PEM: the CA that pods trust for the enrollment listener; it stands in their environment, and is read anew when the file changes. Without it the webhook reads what the enrollment component publishes, which it does with `serving.kind: selfManaged`.'
      )
    ),
    keyAlgorithm: Type.Enum(['P-256', 'P-384', 'RSA-2048', 'RSA-3072', 'RSA-4096'], {
      default: 'P-256',
      description: 'Key that the pod makes for itself.'
    }),
    keyGroup: identifier(
      'Supplemental group that may read the key where no common user and no fsGroup is set.',
      { default: 65532 }
    ),
    knownImages: list(
      text('known-image'),
      'Images that run as a numeric user other than root; a `*` at the end stands for any rest. After `=` a user that is set where the pod names none. For others a warning says that runAsNonRoot may keep them from starting; those of Ray are known.'
    ),
    user: identifier('User of the init container where the pod sets none.', { default: 65532 }),
    resources: section('Requests and limits of the init container.', {
      cpu: text('cpu', 'Processor; too little delays the start of each pod.', { default: '500m' }),
      memory: text('memory', 'Memory.', { default: '128Mi' })
    })
  }),
  enrollment: section('Who gets a certificate, and for how long.', {
    audience: text('audience', 'Audience that the token of a pod must have.', {
      default: 'rayguard'
    }),
    checkSourceAddress: Type.Boolean({
      default: true,
      description:
        'Refuse a request that does not come from an address of the pod. Without it, whoever may create tokens for a pod can enroll in its place; turn it off only where the network hides pod addresses.'
    }),
    shortNames: Type.Boolean({
      default: false,
      description:
        'Also put `name` and `name.namespace` of the head service into head certificates.'
    }),
    lifetime: text(
      'lifetime',
      'Lifetime of a certificate, shortened to the end of the CA and of those above it that a file names. Ray never reloads: a pod must not outlive it.',
      { default: '90d' }
    ),
    namespaceLifetime: section(
      'What administrators of a namespace may choose by its label `rayguard.dev/certificate-lifetime`; what lies outside is brought to the nearer end.',
      {
        shortest: Type.Optional(
          text('lifetime', 'Without it: `1d`, or `enrollment.lifetime` where that is shorter.')
        ),
        longest: Type.Optional(
          text(
            'lifetime',
            'Without it: `enrollment.lifetime`, so that a label can only shorten it.'
          )
        )
      }
    ),
    alsoTrustedFile: Type.Optional(
      path(
        'PEM: CAs that pods trust beside the one that signs, while it is being replaced: the former one or the next, never one above them. Read again when it changes; there may be no such file (docs/ca-rotation.md).'
      )
    ),
    quota: section('How many certificates may be issued within an hour.', {
      perPod: Type.Integer({
        minimum: 1,
        maximum: 10_000,
        default: 20,
        description: 'For one pod (by UID).'
      }),
      perNamespace: Type.Integer({
        minimum: 1,
        maximum: 10_000_000,
        default: 10_000,
        description: 'For all pods of a namespace.'
      }),
      clustersPerNamespace: Type.Integer({
        minimum: 1,
        // What fits into one Secret, in which all of a namespace stand.
        maximum: 500,
        default: 200,
        description:
          'With `trust: perCluster`: CAs of RayClusters that a namespace may hold at one time, and that each replica may ask for within an hour.'
      })
    })
  }),
  replacement: section(
    'What the component `replacement` does: evict pods before their certificates end, so that KubeRay makes them anew.',
    {
      ahead: text(
        'lifetime',
        'How long before the end of its certificate a pod is replaced, at most half of the certificate’s life.',
        { default: '15d' }
      ),
      heads: Type.Boolean({
        default: false,
        description:
          'Also replace heads, each after the workers of its cluster. Without fault tolerance of the GCS a cluster loses its state with its head.'
      }),
      interval: text(
        'interval',
        'The shortest time between two evictions, in all namespaces together.',
        {
          default: '1m'
        }
      )
    }
  ),
  clientCertificates: section(
    'Certificates for drivers and notebooks outside the pods (docs/client-certificates.md).',
    {
      enabled: Type.Boolean({
        default: false,
        description:
          'Sign them, with the enrollment component. Off, because it needs rights of its own, and because whoever has such a certificate can run code in the Ray cluster.'
      }),
      lifetime: text('client-lifetime', 'How long they live at most; a user may ask for less.', {
        default: '12h'
      }),
      requestsPerUser: Type.Integer({
        minimum: 1,
        maximum: 10_000,
        default: 20,
        description: 'How many requests of one user are answered within an hour, refused ones too.'
      })
    }
  ),
  authority: Type.Optional(authoritySchema),
  trust: Type.Enum(['perCluster', 'shared'], {
    default: 'perCluster',
    description:
      '`perCluster`: each RayCluster has a CA of its own below the authority’s, and its pods trust that alone; the authority must be able to sign CAs. `shared`: the pods of all Ray clusters trust the same CA, so any of them can join another. A change reaches a RayCluster when none of its pods holds a certificate of before; see docs/trust.md.'
  }),
  shutdown: section('What SIGTERM does.', {
    drain: text(
      'drain',
      'For how long requests are still taken after readiness is withdrawn, until every API server and Service has noticed.',
      { default: '5s' }
    ),
    deadline: text(
      'deadline',
      'When the process ends whatever is still open, counted from the signal; below the pod’s terminationGracePeriodSeconds.',
      { default: '25s' }
    )
  }),
  log: section('JSON lines on standard output.', {
    level: Type.Enum(['debug', 'info', 'warn', 'error'], {
      default: 'info',
      description: 'The lowest level that is written.'
    })
  })
})

/** A settings file with every default filled in, as it is written: durations are still text. */
export type SettingsFile = Static<typeof schema>

function listener<P extends Record<string, TSchema> = Record<never, never>>(
  what: string,
  port: number,
  others: P = {} as P
) {
  return section(`Where ${what}.`, {
    address: text('ip-address', '`::` is every address of both families.', { default: '::' }),
    port: Type.Integer({
      minimum: 0,
      maximum: 65535,
      default: port,
      description: '0 takes any free port.'
    }),
    ...others
  })
}
