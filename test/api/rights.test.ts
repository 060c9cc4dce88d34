/**
 * What the service accounts of the manifests may do, asked of the real API server: every verb on every resource that it
 * knows. Whatever a role grants too much shows here, and so does what it grants too little.
 */
import t from 'tap'
import { entrySecrets, recordSecret } from '../../src/authority/per-cluster/entries.ts'
import {
  type ApiFailure,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  makeToken,
  skip
} from '../support/cluster.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { readManifest, toInput } from '../support/cluster-manifest.ts'

const own = 'rayguard-system'
const other = 'rights-of-rayguard'

const verbs = [
  ...['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'],
  ...['impersonate', 'bind', 'escalate', 'approve', 'sign', 'use']
]

/** Objects that only a role with `resourceNames` could open. */
const named: Record<string, string[]> = {
  secrets: [
    ...['rayguard-webhook-serving', 'rayguard-enrollment-serving', 'rayguard-ca', 'any-other'],
    ...[recordSecret, ...entrySecrets]
  ],
  configmaps: ['rayguard-enrollment-ca', 'rayguard', 'any-other'],
  'leases.coordination.k8s.io': ['rayguard-replacement', 'any-other'],
  'mutatingwebhookconfigurations.admissionregistration.k8s.io': ['rayguard', 'any-other'],
  'validatingwebhookconfigurations.admissionregistration.k8s.io': ['rayguard', 'any-other'],
  'signers.certificates.k8s.io': [
    ...[
      'example.com/ray-pods',
      'example.com/ray-cas',
      'rayguard.dev/ray-client',
      'rayguard.dev/another'
    ],
    'kubernetes.io/kubelet-serving'
  ]
}

/** Names no object of its own, or is not there without cert-manager; rights to it are asked for all the same. */
const beside: Resource[] = [
  { group: 'certificates.k8s.io', name: 'signers', namespaced: false },
  ...['', '/status', '/approval'].map(part => ({
    ...{ group: 'cert-manager.io', name: `certificaterequests${part}`, namespaced: true }
  })),
  ...['issuers', 'certificates'].map(name => ({
    ...{ group: 'cert-manager.io', name, namespaced: true }
  }))
]

const requestVerbs = ['create', 'get', 'list', 'watch', 'delete']
const signingRequests = requestVerbs.map(
  verb => `cluster: ${verb} certificatesigningrequests.certificates.k8s.io`
)

/** What values of the chart add to the rights of the enrollment server, in roles of their own. */
const byValues: { values: string[]; roles: RegExp; added: string[] }[] = [
  {
    values: ['kind=kubernetes-csr', 'signerName=example.com/ray-pods'].map(ofAuthority),
    roles: /^rayguard-signing-requests$/,
    added: signingRequests
  },
  {
    values: ['kind=kubernetes-csr', 'signerName=example.com/ray-pods', 'approve=true'].map(
      ofAuthority
    ),
    roles: /^rayguard-signing-requests$/,
    added: [
      ...signingRequests,
      'cluster: update certificatesigningrequests/approval.certificates.k8s.io',
      'cluster: approve signers.certificates.k8s.io example.com/ray-pods'
    ]
  },
  {
    values: [
      ...['kind=kubernetes-csr', 'signerName=example.com/ray-pods', 'approve=true'],
      'intermediateSignerName=example.com/ray-cas'
    ].map(ofAuthority),
    roles: /^rayguard-signing-requests$/,
    added: [
      ...signingRequests,
      'cluster: update certificatesigningrequests/approval.certificates.k8s.io',
      ...['ray-pods', 'ray-cas'].map(
        name => `cluster: approve signers.certificates.k8s.io example.com/${name}`
      )
    ]
  },
  {
    values: ['kind=cert-manager', 'issuer.name=ray-pods'].map(ofAuthority),
    roles: /^rayguard-certificate-requests$/,
    added: requestVerbs.map(verb => `${own}: ${verb} certificaterequests.cert-manager.io`)
  },
  {
    values: ['clientCertificates.enabled=true'],
    roles: /^rayguard-client/,
    added: [
      ...['get', 'list', 'watch'].map(
        verb => `cluster: ${verb} certificatesigningrequests.certificates.k8s.io`
      ),
      ...['approval', 'status'].map(
        part => `cluster: update certificatesigningrequests/${part}.certificates.k8s.io`
      ),
      ...['approve', 'sign'].map(
        verb => `cluster: ${verb} signers.certificates.k8s.io rayguard.dev/ray-client`
      ),
      'cluster: create subjectaccessreviews.authorization.k8s.io'
    ]
  }
]

function ofAuthority(value: string): string {
  return `settings.authority.${value}`
}

const expected: Record<string, string[]> = {
  webhook: [
    'cluster: list namespaces',
    'cluster: watch namespaces',
    ...[own, other].flatMap(namespace => [
      `${namespace}: list pods`,
      `${namespace}: watch pods`,
      `${namespace}: create events.events.k8s.io`
    ]),
    ...['mutating', 'validating'].flatMap(kind =>
      ['get', 'patch'].map(
        verb =>
          `cluster: ${verb} ${kind}webhookconfigurations.admissionregistration.k8s.io rayguard`
      )
    ),
    `${own}: create secrets`,
    `${own}: get secrets rayguard-webhook-serving`,
    `${own}: update secrets rayguard-webhook-serving`,
    `${own}: get configmaps rayguard-enrollment-ca`
  ],
  enrollment: [
    'cluster: create tokenreviews.authentication.k8s.io',
    'cluster: get namespaces',
    ...[own, other].flatMap(namespace => [
      ...['get', 'list', 'watch'].map(verb => `${namespace}: ${verb} pods`),
      `${namespace}: create events.events.k8s.io`,
      `${namespace}: get services`,
      ...['rayclusters', 'rayjobs', 'rayservices'].map(
        resource => `${namespace}: get ${resource}.ray.io`
      )
    ]),
    `${own}: create secrets`,
    `${own}: create configmaps`,
    ...['get', 'update'].flatMap(verb => [
      ...[recordSecret, ...entrySecrets].map(name => `${own}: ${verb} secrets ${name}`),
      `${own}: ${verb} secrets rayguard-enrollment-serving`,
      `${own}: ${verb} configmaps rayguard-enrollment-ca`
    ])
  ],
  replacement: [
    'cluster: get namespaces',
    'cluster: get mutatingwebhookconfigurations.admissionregistration.k8s.io rayguard',
    ...[own, other].flatMap(namespace => [
      ...['get', 'list', 'watch'].map(verb => `${namespace}: ${verb} pods`),
      `${namespace}: create pods/eviction`,
      `${namespace}: create events.events.k8s.io`
    ]),
    `${own}: create leases.coordination.k8s.io`,
    ...['get', 'update'].map(
      verb => `${own}: ${verb} leases.coordination.k8s.io rayguard-replacement`
    )
  ]
}

/** What the chart adds by a value; without Helm it is left out. */
const optional = skipWithoutHelm
  ? []
  : renderChart('replacement.enabled=true').filter(
      ({ metadata }) => metadata.name === 'rayguard-replacement'
    )

t.test('the rights of the service accounts', { skip }, async t => {
  const api = await connect()
  const kinds = /^(Namespace|ServiceAccount|(Cluster)?Role(Binding)?)$/
  const all = [...(await readManifest()), ...optional]
  const objects = all.filter(({ kind = '' }) => kinds.test(kind))
  await kubectl(['apply', '-f', '-'], toInput(objects))
  await makeNamespace(api, other)
  t.teardown(async () => {
    await api.delete(`/api/v1/namespaces/${other}`)
    api.close()
  })
  const found = await discover(api)
  const known = new Set(found.map(({ group, name }) => `${group}/${name}`))
  const resources = [
    ...found,
    ...beside.filter(({ group, name }) => !known.has(`${group}/${name}`))
  ]
  t.ok(resources.length > 50, `the API server knows ${resources.length} resources`)
  // what every service account has, whoever it is
  const everybody = new Set(await rightsOf(api, 'default', resources))
  for (const component of Object.keys(expected)) {
    if (component === 'replacement' && optional.length === 0) continue
    await t.test(`the ${component} has these and no others`, async t => {
      const found = await rightsOf(api, `rayguard-${component}`, resources)
      t.strictSame(
        found.filter(right => !everybody.has(right)).sort(),
        [...(expected[component] ?? [])].sort()
      )
    })
  }
})

t.test('the rights that values of the chart add', { skip: skip || skipWithoutHelm }, async t => {
  const api = await connect()
  const kinds = /^(Namespace|ServiceAccount|(Cluster)?Role(Binding)?)$/
  const manifest = (await readManifest()).filter(({ kind = '' }) => kinds.test(kind))
  await kubectl(['apply', '-f', '-'], toInput(manifest))
  t.teardown(api.close)
  const resources = [...(await discover(api)), ...beside].filter(({ group }) =>
    /^((certificates|authorization)\.k8s\.io|cert-manager\.io)$/.test(group)
  )
  const everybody = new Set(await rightsOf(api, 'default', resources))
  for (const { values, roles, added } of byValues) {
    const objects = toInput(
      renderChart(...values).filter(
        ({ kind = '', metadata }) => kinds.test(kind) && roles.test(metadata.name ?? '')
      )
    )
    await kubectl(['apply', '-f', '-'], objects)
    const found = await eventually('the authorizer has heard of it', async () => {
      const rights = await rightsOf(api, 'rayguard-enrollment', resources)
      return rights.length >= added.length && rights
    })
    t.strictSame(
      found.filter(right => !everybody.has(right)).sort(),
      [...added].sort(),
      values.join(' ')
    )
    t.strictSame(
      (await rightsOf(api, 'rayguard-webhook', resources)).filter(each => !everybody.has(each)),
      [],
      'the webhook has none of them'
    )
    await kubectl(['delete', '-f', '-'], objects)
    await eventually('they are gone', async () => {
      const rights = await rightsOf(api, 'rayguard-enrollment', resources)
      return rights.every(right => everybody.has(right))
    })
  }
})

t.test('attack 58: a right to create is no way to be somebody else', { skip }, async t => {
  const api = await connect()
  const wanted = (await readManifest()).filter(
    ({ kind = '', metadata }) =>
      /^(Namespace|ServiceAccount|Role(Binding)?)$/.test(kind) ||
      metadata.name === 'rayguard-own-objects'
  )
  const policies = wanted.filter(({ kind = '' }) => kind.startsWith('ValidatingAdmission'))
  // a part before this one may have left its own: who may create is asked, not whether there is one
  for (const each of [
    'secrets/rayguard-webhook-serving',
    'secrets/rayguard-enrollment-serving',
    'configmaps/rayguard-enrollment-ca',
    ...[recordSecret, ...entrySecrets].map(name => `secrets/${name}`)
  ])
    await api.delete(`/api/v1/namespaces/${own}/${each}`)
  t.equal(policies.length, 2, 'there is a policy, and it is bound')
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], toInput(wanted))
  t.teardown(async () => {
    await kubectl(['delete', '-f', '-'], toInput(policies))
    api.close()
  })
  const of = async (component: string) => api.as(await makeToken(api, own, `rayguard-${component}`))
  const [webhook, enrollment] = [await of('webhook'), await of('enrollment')]
  t.teardown(() => {
    for (const each of [webhook, enrollment]) each.close()
  })
  const secret = (name: string, account?: string) => ({
    metadata: {
      name,
      ...(account ? { annotations: { 'kubernetes.io/service-account.name': account } } : {})
    },
    ...(account ? { type: 'kubernetes.io/service-account-token' } : {})
  })
  const create = (as: ClusterApi, kind: string, object: object) =>
    as.create(`/api/v1/namespaces/${own}/${kind}?dryRun=All`, object).then(
      () => 'created',
      (error: ApiFailure) =>
        /rayguard-own-objects/.test(error.message) ? 'refused' : error.message
    )

  await eventually(
    'the policy is in force',
    async () => (await create(webhook, 'secrets', secret('other'))) === 'refused'
  )
  const attacks: [string, ClusterApi, string, object][] = [
    [
      'the webhook asks for the token of the enrollment server, where it can read it',
      ...[webhook, 'secrets'],
      secret('rayguard-webhook-serving', 'rayguard-enrollment')
    ],
    [
      'for its own token, which would never end',
      ...[webhook, 'secrets'],
      secret('rayguard-webhook-serving', 'rayguard-webhook')
    ],
    [
      'the enrollment server asks for the token of the webhook',
      ...[enrollment, 'secrets'],
      secret('rayguard-enrollment-serving', 'rayguard-webhook')
    ],
    [
      'the webhook makes the Secret of the enrollment server, with a CA of its own',
      ...[webhook, 'secrets'],
      secret('rayguard-enrollment-serving')
    ],
    [
      'the webhook makes a Secret for the CAs of RayClusters, with one that it knows',
      ...[webhook, 'secrets'],
      secret('rayguard-clusters-0')
    ],
    [
      'the enrollment server makes another of such a name',
      ...[enrollment, 'secrets'],
      secret('rayguard-clusters-00')
    ],
    [
      'or asks for the token of the webhook under it',
      ...[enrollment, 'secrets'],
      secret('rayguard-clusters-1', 'rayguard-webhook')
    ],
    ['the CA of the pods is made beforehand', webhook, 'secrets', secret('rayguard-ca')],
    ['a name is left to chance', webhook, 'secrets', { metadata: { generateName: 'rayguard-' } }],
    [
      'the enrollment server makes a ConfigMap for others',
      ...[enrollment, 'configmaps'],
      { metadata: { name: 'rayguard' } }
    ]
  ] as [string, ClusterApi, string, object][]
  for (const [title, as, kind, object] of attacks)
    t.equal(await create(as, kind, object), 'refused', `attack: ${title}`)

  t.equal(await create(webhook, 'secrets', secret('rayguard-webhook-serving')), 'created')
  t.equal(await create(enrollment, 'secrets', secret('rayguard-enrollment-serving')), 'created')
  for (const name of [recordSecret, ...entrySecrets])
    t.equal(await create(enrollment, 'secrets', secret(name)), 'created', name)
  const published = { metadata: { name: 'rayguard-enrollment-ca' } }
  t.equal(await create(enrollment, 'configmaps', published), 'created', 'each may make its own')
  t.equal(
    await create(api, 'secrets', secret('any', 'rayguard-webhook')),
    'created',
    'an administrator is not meant'
  )
})

interface Resource {
  group: string
  /** With its subresource, as in `pods/exec`. */
  name: string
  namespaced: boolean
}

async function discover(api: ClusterApi): Promise<Resource[]> {
  const { groups } = await api.get<{ groups: { preferredVersion: { groupVersion: string } }[] }>(
    '/apis'
  )
  const paths = [
    '/api/v1',
    ...groups.map(({ preferredVersion }) => `/apis/${preferredVersion.groupVersion}`)
  ]
  const lists = await Promise.all(
    paths.map(async path => {
      const { groupVersion, resources } = await api.get<{
        groupVersion: string
        resources: { name: string; namespaced: boolean }[]
      }>(path)
      const group = groupVersion.includes('/') ? (groupVersion.split('/')[0] ?? '') : ''
      return resources.map(({ name, namespaced }) => ({ group, name, namespaced }))
    })
  )
  return lists.flat()
}

async function rightsOf(
  api: ClusterApi,
  account: string,
  resources: Resource[]
): Promise<string[]> {
  const asked = api.as(await makeToken(api, own, account))
  const questions = resources.flatMap(resource => {
    const id = resource.group === '' ? resource.name : `${resource.name}.${resource.group}`
    const namespaces = resource.namespaced ? [own, other] : ['']
    return namespaces.flatMap(namespace =>
      ['', ...(named[id] ?? [])].flatMap(name =>
        verbs.map(verb => ({ resource, id, namespace, name, verb }))
      )
    )
  })
  const answers = await Promise.all(
    questions.map(async ({ resource, id, namespace, name, verb }) => {
      const [plural, subresource = ''] = resource.name.split('/')
      const review = await asked.create<{ status: { allowed: boolean } }>(
        '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SelfSubjectAccessReview',
          spec: {
            resourceAttributes: {
              ...{ verb, group: resource.group, resource: plural, subresource, namespace, name }
            }
          }
        }
      )
      const place = namespace === '' ? 'cluster' : namespace
      return review.status.allowed ? `${place}: ${verb} ${id}${name && ` ${name}`}` : undefined
    })
  )
  asked.close()
  const granted = new Set(answers.filter(answer => answer !== undefined))
  // a right on all objects of a kind is said once, not for each name again
  return [...granted].filter(right => {
    const [place, verb, id, name] = right.split(' ')
    return name === undefined || !granted.has(`${place} ${verb} ${id}`)
  })
}
