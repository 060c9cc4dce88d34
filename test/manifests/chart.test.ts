/** The chart with several sets of values, and what is made from it for those who have no Helm. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { isLockDownPolicy } from '../../src/cli/registration/bindings.ts'
import { enrollMounts, programPlaces } from '../../src/contract/enroll-container.ts'
import { meshContainers } from '../../src/injection/mesh.ts'
import type { KubernetesObject, Pod, WebhookConfiguration } from '../../src/kubernetes/objects.ts'
import { evaluate } from '../../src/pod-security/evaluate.ts'
import { errorLine, loadSettings } from '../../src/settings/load.ts'
import { renderChart, skipWithoutHelm as skip } from '../support/cluster-chart.ts'
import { readManifest } from '../support/cluster-manifest.ts'
import { foundProgram } from '../support/found-program.ts'

const helm = foundProgram('helm')
const chart = 'manifests/chart'

interface Deployment extends KubernetesObject {
  spec: { replicas: number; template: Pod }
}

interface Policy extends KubernetesObject {
  spec: { variables: { name: string; expression: string }[] }
}

const find = <T extends KubernetesObject>(
  objects: KubernetesObject[],
  kind: string,
  name: string
) => objects.find(object => object.kind === kind && object.metadata.name === name) as T

const registrationsIn = (objects: KubernetesObject[]): WebhookConfiguration[] =>
  objects.filter(({ kind }) => /WebhookConfiguration$/.test(kind ?? ''))
const entriesOf = (objects: KubernetesObject[]) =>
  registrationsIn(objects).flatMap(({ webhooks }) => webhooks ?? [])

t.test('the files beside the chart are what it renders now', { skip }, async t => {
  const folder = t.testdir({})
  const program = helm ?? ''
  const PATH = `${join(program, '..')}:${process.env.PATH}`
  execFileSync('manifests/render', [folder], { env: { ...process.env, PATH } })
  for (const name of ['rayguard.yaml', 'alerts.yaml', 'dashboard.json']) {
    t.equal(
      readFileSync(join('manifests', name), 'utf8'),
      readFileSync(join(folder, name), 'utf8'),
      `manifests/${name} is current; manifests/render makes it anew`
    )
  }
})

t.test('the manifest installs by itself', async t => {
  const objects = await readManifest()
  await judge(t, objects)
  t.equal(find(objects, 'Namespace', 'rayguard-system').kind, 'Namespace', 'its namespace is there')
  t.notMatch(
    readFileSync('manifests/rayguard.yaml', 'utf8').replace(/^ *#.*$/gm, ''),
    /caBundle|kind: Secret\n/,
    'nothing that is written at run time stands in it, so nothing takes it back'
  )
})

t.test('the policies guard the same places of the agent as the program', async t => {
  const policy = find<Policy>(await readManifest(), 'ValidatingAdmissionPolicy', 'rayguard-pods')
  const places = policy.spec.variables.find(({ name }) => name === 'guardedPlaces')
  t.strictSame(
    [...(places?.expression ?? '').matchAll(/'(\/[^']+)'/g)].map(([, place]) => place),
    [...enrollMounts.map(({ mountPath }) => mountPath), ...programPlaces]
  )
})

t.test('helm finds no fault in the chart', { skip }, async t => {
  const lint = spawnSync(helm ?? '', ['lint', '--strict', chart], { encoding: 'utf8' })
  t.equal(lint.status, 0, lint.stdout)
  const misspelt = spawnSync(helm ?? '', ['template', chart, '--set', 'image.tags=1'])
  t.not(misspelt.status, 0, 'a value that does not exist is refused')
  const folder = '/etc/rayguard/authority'
  const vault = ['kind=vault', 'address=https://vault.test']
  const secrets = {
    privateKeyFile: ['kind=pem'],
    pinFile: ['kind=pkcs11', `pinFile=${folder}/pin`],
    tokenFile: [...vault, `login.tokenFile=${folder}/token`],
    secretIdFile: [...vault, `login.secretIdFile=${folder}/id`]
  }
  const withConfigMap = (authority: string[]) => () =>
    renderChart('authority.configMap=ca', ...authority.map(each => `settings.authority.${each}`))
  for (const [name, authority] of Object.entries(secrets))
    t.throws(
      withConfigMap(authority),
      { message: new RegExp(`the ${name} of .* put it into a Secret`) },
      `attack 51: ${name} in a ConfigMap`
    )
  const elsewhere = withConfigMap(['kind=pkcs11', 'pinFile=/opt/hsm/pin'])
  t.doesNotThrow(elsewhere, 'a PIN from a volume of its own')
  const values = parse(readFileSync(join(chart, 'values.yaml'), 'utf8'))
  const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8'))
  t.strictSame(undescribed(schema), [], 'every value is described')
  t.strictSame(
    values.policies.meshContainers.sort(),
    [...meshContainers].sort(),
    'the policies let the same containers of meshes go first as the webhook does'
  )
})

const pinned = { certificateFile: '/etc/rayguard/authority/ca.crt' }

const valueSets: {
  title: string
  values: string[]
  check?: (t: Test, o: KubernetesObject[]) => void
}[] = [
  {
    title: 'as it comes',
    values: [],
    check(t, objects) {
      for (const component of ['webhook', 'enrollment']) {
        const { spec } = find<Deployment>(objects, 'Deployment', `rayguard-${component}`)
        t.equal(spec.replicas, 2, `two replicas of the ${component}`)
      }
      t.notOk(find(objects, 'Deployment', 'rayguard-preview'), 'no preview unless it is asked for')
      const mounts = JSON.stringify(find(objects, 'Deployment', 'rayguard-webhook'))
      t.notMatch(mounts, 'rayguard-ca', 'the webhook cannot see the CA of the pods')
      t.notMatch(JSON.stringify(objects), 'pods/eviction', 'nobody may evict a pod')
      const others = /certificatesigningrequests|subjectaccessreviews/
      t.notMatch(JSON.stringify(objects), others, 'nor sign for users, or ask what they may do')
    }
  },
  {
    title: 'registered for two namespaces to begin with',
    values: ['registration.namespaces={team-a,team-b}'],
    check(t, objects) {
      const webhooks = entriesOf(objects)
      t.strictSame(
        webhooks.map(({ name }) => name),
        ['pods', 'submitters', 'resources'].map(what => `${what}.rayguard.dev`)
      )
      for (const { name, namespaceSelector } of webhooks)
        t.match(
          namespaceSelector?.matchExpressions?.[0],
          { operator: 'In', values: ['team-a', 'team-b'] },
          name
        )
      const selector = { matchExpressions: webhooks[0]?.namespaceSelector?.matchExpressions }
      for (const { metadata, spec } of lockDownBindings(objects))
        t.match(spec.matchResources.namespaceSelector, selector, `${metadata.name} is bound there`)
    }
  },
  {
    title: 'to be registered by hand',
    values: ['registration.enabled=false'],
    check(t, objects) {
      t.strictSame(entriesOf(objects), [])
      t.strictSame(lockDownBindings(objects), [], 'no policy asks for what nobody does')
    }
  },
  {
    title: 'without warnings about Ray resources',
    values: ['registration.warnings=false'],
    check(t, objects) {
      t.notOk(objects.some(({ kind }) => kind === 'ValidatingWebhookConfiguration'))
      t.equal(entriesOf(objects).length, 2, 'pods are asked about all the same')
    }
  },
  {
    title: 'with an image by digest, earlier images and a private registry',
    values: [
      'image.repository=registry.test/rayguard',
      `image.digest=sha256:${'a'.repeat(64)}`,
      'imagePullSecrets={ours}',
      'injection.imagePullSecrets={theirs}',
      'injection.formerImages={registry.test/rayguard:0.0.9}',
      'settings.log.level=debug'
    ],
    check(t, objects) {
      const image = `registry.test/rayguard@sha256:${'a'.repeat(64)}`
      const { spec } = find<Deployment>(objects, 'Deployment', 'rayguard-webhook').spec.template
      t.equal(spec.containers[0]?.image, image, 'the servers have it')
      t.match(spec.imagePullSecrets, [{ name: 'ours' }], 'our own pull secret')
      const policy = find<KubernetesObject & { spec: { variables: { expression: string }[] } }>(
        objects,
        'ValidatingAdmissionPolicy',
        'rayguard-pods'
      )
      t.ok(
        policy.spec.variables.some(
          ({ expression }) => expression === `['${image}', 'registry.test/rayguard:0.0.9']`
        ),
        'the policy knows both images'
      )
      t.match(
        settingsOf(objects),
        { log: { level: 'debug' }, injection: { imagePullSecrets: ['theirs'] } },
        'values become settings'
      )
    }
  },
  {
    title: 'with Vault',
    values: [
      'settings.authority.kind=vault',
      'settings.authority.address=https://vault.test:8200',
      'settings.authority.caFile=/etc/rayguard/authority/ca.crt',
      'settings.authority.role=ray-pods',
      'settings.authority.login.kind=kubernetes',
      'authority.configMap=vault-ca'
    ],
    check(t, objects) {
      const { volumes } = find<Deployment>(objects, 'Deployment', 'rayguard-enrollment').spec
        .template.spec
      t.match(
        volumes?.find(({ name }) => name === 'vault'),
        { projected: { sources: [{ serviceAccountToken: { audience: 'vault', path: 'token' } }] } },
        'a token for Vault alone'
      )
      t.notMatch(
        JSON.stringify(find(objects, 'Deployment', 'rayguard-webhook')),
        /serviceAccountToken/,
        'which the webhook has not'
      )
      const leaving = (name: string) => JSON.stringify(find(objects, 'NetworkPolicy', name))
      t.match(leaving('rayguard-enrollment'), /"egress":.*"port":8200/, 'and the way to Vault')
      t.notMatch(leaving('rayguard-webhook'), /8200/, 'which the webhook has not either')
    }
  },
  {
    title: 'with the preview',
    values: ['preview.enabled=true'],
    check(t, objects) {
      const { spec } = find<Deployment>(objects, 'Deployment', 'rayguard-preview').spec.template
      t.equal(spec.automountServiceAccountToken, false, 'attack 43: it has no token')
      t.notOk(spec.serviceAccountName, 'nor an account of its own')
      t.notMatch(JSON.stringify(spec), /secret/i, 'nor any Secret')
      t.notOk(
        JSON.stringify(objects.filter(({ kind }) => /Role|Binding/.test(kind ?? ''))).includes(
          'rayguard-preview'
        ),
        'nor a right'
      )
      t.match(find(objects, 'NetworkPolicy', 'rayguard-preview'), { spec: { egress: [] } })
      t.match(
        spec.volumes?.find(({ name }) => name === 'enrollment-ca'),
        { configMap: { name: 'rayguard-enrollment-ca' } },
        'it shows the CA that the webhook puts into pods'
      )
    }
  },
  {
    title: 'with the preview and certificates of cert-manager',
    values: ['preview.enabled=true', 'serving.kind=certManager'],
    check(t, objects) {
      t.match(
        find(objects, 'Certificate', 'rayguard-preview'),
        { spec: { secretName: 'rayguard-preview-tls' } },
        'a certificate of its own'
      )
      const { volumes } = find<Deployment>(objects, 'Deployment', 'rayguard-preview').spec.template
        .spec
      t.strictSame(
        volumes?.flatMap(({ secret }) => (secret ? [secret] : [])),
        [
          { secretName: 'rayguard-preview-tls', defaultMode: 288 },
          { secretName: 'rayguard-enrollment-tls', items: [{ key: 'ca.crt', path: 'ca.crt' }] }
        ],
        'and of the enrollment server the CA, not the key'
      )
    }
  },
  {
    title: 'with a signer of the cluster',
    values: [
      ...['kind=kubernetes-csr', 'signerName=example.com/ray-pods', 'approve=true'].map(
        each => `settings.authority.${each}`
      ),
      ...['authority.configMap=ray-pods-ca', 'trust=shared']
    ],
    check(t, objects) {
      const { rules } = find<Role>(objects, 'ClusterRole', 'rayguard-signing-requests')
      t.match(
        rules.filter(({ resources }) => resources.includes('signers')),
        [{ verbs: ['approve'], resourceNames: ['example.com/ray-pods'] }],
        'approval for this signer alone'
      )
      t.strictSame(authorityVolume(objects)?.projected?.sources, besides('ray-pods-ca'), 'its CA')
      t.match(settingsOf(objects), { authority: pinned })
    }
  },
  {
    title: 'with a signer of the cluster, and another for the CAs of RayClusters',
    values: [
      ...[
        ...['kind=kubernetes-csr', 'signerName=example.com/ray-pods', 'approve=true'],
        'intermediateSignerName=example.com/ray-cas'
      ].map(each => `settings.authority.${each}`),
      'authority.configMap=ray-pods-ca'
    ],
    check(t, objects) {
      const { rules } = find<Role>(objects, 'ClusterRole', 'rayguard-signing-requests')
      t.match(
        rules.filter(({ resources }) => resources.includes('signers')),
        [{ verbs: ['approve'], resourceNames: ['example.com/ray-pods', 'example.com/ray-cas'] }],
        'approval for both alone'
      )
      t.match(settingsOf(objects), { trust: 'perCluster' }, 'as is the default')
    }
  },
  {
    title: 'with a signer of the cluster that others approve for',
    values: [
      ...['kind=kubernetes-csr', 'signerName=example.com/ray-pods'].map(
        each => `settings.authority.${each}`
      ),
      ...['policies.enabled=false', 'trust=shared']
    ],
    check(t, objects) {
      const { rules } = find<Role>(objects, 'ClusterRole', 'rayguard-signing-requests')
      t.strictSame(
        rules.flatMap(({ resources }) => resources),
        ['certificatesigningrequests'],
        'no right to approve'
      )
      t.equal(authorityVolume(objects)?.secret?.secretName, 'rayguard-ca', 'its certificate')
      for (const kind of ['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding'])
        t.ok(
          find(objects, kind, 'rayguard-signing-requests'),
          'its own account is kept in all the same'
        )
    }
  },
  {
    title: 'with an issuer of cert-manager for pods',
    values: ['settings.authority.kind=cert-manager', 'settings.authority.issuer.name=ray-pods'],
    check(t, objects) {
      const { rules, metadata } = find<Role>(objects, 'Role', 'rayguard-certificate-requests')
      t.equal(metadata.namespace, 'rayguard-system', 'requests in the own namespace alone')
      t.match(rules, [{ resources: ['certificaterequests'] }], 'and nothing else')
      t.strictSame(authorityVolume(objects)?.projected?.sources, besides(), 'no Secret with a CA')
      for (const kind of ['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding'])
        t.ok(find(objects, kind, 'rayguard-certificate-requests'), 'no other issuer')
      t.notOk(find(objects, 'ClusterRole', 'rayguard-signing-requests'))
    }
  },
  {
    title: 'with an issuer of cert-manager whose CA is pinned',
    values: [
      ...['settings.authority.kind=cert-manager', 'settings.authority.issuer.name=ray-pods'],
      'authority.configMap=ray-pods-ca'
    ],
    check(t, objects) {
      t.strictSame(authorityVolume(objects)?.projected?.sources, besides('ray-pods-ca'))
      t.match(settingsOf(objects), { authority: pinned })
    }
  },
  {
    title: 'with certificates of cert-manager',
    values: ['serving.kind=certManager'],
    check(t, objects) {
      const kinds = objects.filter(({ kind }) => kind === 'Certificate' || kind === 'Issuer')
      t.equal(kinds.length, 5, 'a CA of our own, its issuer, and a certificate for each')
      for (const { kind, metadata } of registrationsIn(objects))
        t.strictSame(
          metadata.annotations,
          { 'cert-manager.io/inject-ca-from': 'rayguard-system/rayguard-webhook' },
          `cert-manager writes the caBundle of the ${kind}`
        )
      const { volumes } = find<Deployment>(objects, 'Deployment', 'rayguard-webhook').spec.template
        .spec
      t.strictSame(
        volumes?.find(({ name }) => name === 'enrollment-ca')?.secret,
        { secretName: 'rayguard-enrollment-tls', items: [{ key: 'ca.crt', path: 'ca.crt' }] },
        'the webhook sees the CA of the enrollment server, not its key'
      )
      t.notOk(find(objects, 'Role', 'rayguard-webhook'), 'no right to any Secret')
    }
  },
  {
    title: 'with an issuer that is there',
    values: [
      'serving.kind=certManager',
      'serving.issuer.name=company',
      'serving.issuer.kind=ClusterIssuer'
    ],
    check(t, objects) {
      t.notOk(
        objects.some(({ kind }) => kind === 'Issuer'),
        'no issuer is made'
      )
    }
  },
  {
    title: 'with Secrets that somebody else keeps',
    values: [
      'serving.kind=secret',
      'serving.secrets.webhook=mine',
      'webhook.clientCaConfigMap=api-server'
    ]
  },
  {
    title: 'with the component that replaces pods',
    values: ['replacement.enabled=true', 'registration.namespaces={team-a}'],
    check(t, objects) {
      const own = objects.filter(({ metadata }) => metadata.name === 'rayguard-replacement')
      t.same(
        new Set(own.map(({ kind }) => kind)),
        new Set([
          ...['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'Role', 'RoleBinding'],
          ...['Deployment', 'Service', 'PodDisruptionBudget', 'NetworkPolicy'],
          ...['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding']
        ])
      )
      const { spec } = find<Deployment>(objects, 'Deployment', 'rayguard-replacement').spec.template
      const { volumes = [], containers } = spec
      t.equal(volumes?.length, 1, 'it sees the settings and no key')
      t.equal(containers[0]?.ports?.length, 1, 'it listens for probes alone')
      const [policy] = own.filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')
      t.match(JSON.stringify(policy), "request.namespace in ['team-a']")
    }
  },
  {
    title: 'with client certificates',
    values: ['clientCertificates.enabled=true'],
    check(t, objects) {
      t.match(settingsOf(objects), { clientCertificates: { enabled: true } })
      const { rules } = find<Role>(objects, 'ClusterRole', 'rayguard-client-signer')
      t.match(
        rules.filter(({ resources }) => resources.includes('signers')),
        [{ verbs: ['approve', 'sign'], resourceNames: ['rayguard.dev/ray-client'] }],
        'for its one signer'
      )
      const bound = objects.filter(({ kind }) => /RoleBinding$/.test(kind ?? ''))
      t.notMatch(
        JSON.stringify(bound),
        /rayguard-client-requests|"rayguard-client"/,
        'the roles for people are for the administrator to bind'
      )
    }
  },
  {
    title: 'with client certificates by the setting alone',
    values: ['settings.clientCertificates.enabled=true'],
    check(t, objects) {
      t.match(settingsOf(objects), { clientCertificates: { enabled: true } })
      t.ok(find(objects, 'ClusterRole', 'rayguard-client-signer'), 'with the rights for them')
    }
  },
  {
    title: 'with client certificates that the setting turns off',
    values: ['clientCertificates.enabled=true', 'settings.clientCertificates.enabled=false'],
    check(t, objects) {
      t.match(settingsOf(objects), { clientCertificates: { enabled: false } })
      t.notMatch(JSON.stringify(objects), /rayguard-client-/, 'and no right is left over')
    }
  },
  {
    title: 'with monitoring and nothing else',
    values: [
      ...['serviceMonitor', 'prometheusRule', 'dashboard'].map(each => `monitoring.${each}=true`),
      ...['policies.enabled', 'networkPolicies.enabled', 'priorityClass.create'].map(
        each => `${each}=false`
      ),
      'replacement.enabled=true',
      'priorityClass.name='
    ],
    check(t, objects) {
      for (const kind of ['ServiceMonitor', 'PrometheusRule'])
        t.ok(find(objects, kind, 'rayguard'), `there is a ${kind}`)
      t.strictSame(
        objects
          .filter(({ kind = '' }) => /Policy|PriorityClass/.test(kind))
          .map(({ kind, metadata }) => `${metadata.name} ${kind}`)
          .sort(),
        ['rayguard-own-objects', 'rayguard-replacement'].flatMap(name => [
          `${name} ValidatingAdmissionPolicy`,
          `${name} ValidatingAdmissionPolicyBinding`
        ]),
        'what is turned off is not there; what keeps our own accounts in is'
      )
    }
  }
]

for (const { title, values, check } of valueSets) {
  t.test(`the chart ${title}`, { skip }, async t => {
    const objects = renderChart(...values)
    await judge(t, objects)
    check?.(t, objects)
  })
}

interface Role extends KubernetesObject {
  rules: { resources: string[]; resourceNames?: string[]; verbs: string[] }[]
}

function authorityVolume(objects: KubernetesObject[]) {
  const { spec } = find<Deployment>(objects, 'Deployment', 'rayguard-enrollment').spec.template
  return spec.volumes?.find(({ name }) => name === 'authority')
}

/** What a CA elsewhere is known by, and of the Secret, where there is one, what is trusted beside it. */
function besides(configMap?: string): object[] {
  const items = [{ key: 'also-trusted.crt', path: 'also-trusted.crt' }]
  const secret = { secret: { name: 'rayguard-ca', optional: true, items } }
  return configMap === undefined ? [secret] : [{ configMap: { name: configMap } }, secret]
}

/** Whatever the values: our own pods keep to the standard, and each component understands its settings. */
async function judge(t: Test, objects: KubernetesObject[]): Promise<void> {
  const file = join(t.testdir({}), 'config.yaml')
  const [settings] = objects.filter(
    ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'rayguard'
  ) as (KubernetesObject & { data: Record<string, string> })[]
  writeFileSync(file, settings?.data['config.yaml'] ?? '')
  const { secret, projected } = authorityVolume(objects) ?? {}
  const isThere =
    secret ?? projected?.sources?.some(each => each.secret && 'optional' in each.secret)
  t.ok(isThere, 'what is trusted beside the CA can be given, whatever the CA is')
  for (const { kind, metadata, spec } of objects as Deployment[]) {
    if (kind !== 'Deployment') continue
    t.strictSame(evaluate(spec.template), [], `${metadata.name} keeps to restricted`)
    const env = spec.template.spec.containers[0]?.env ?? []
    const environment = Object.fromEntries(env.map(({ name, value }) => [name, value ?? '']))
    const loaded = await loadSettings({ file, environment })
    t.strictSame(
      'errors' in loaded ? loaded.errors.map(errorLine) : [],
      [],
      `${metadata.name} understands its settings`
    )
  }
  for (const { kind, metadata } of objects.filter(({ kind }) => /Configuration$/.test(kind ?? '')))
    t.match(metadata.name, 'rayguard', `${kind} has the name that our rights are for`)
}

type Binding = KubernetesObject & { spec: { matchResources: { namespaceSelector: object } } }

function lockDownBindings(objects: KubernetesObject[]): Binding[] {
  return objects.filter(
    ({ kind, metadata }) =>
      kind === 'ValidatingAdmissionPolicyBinding' && isLockDownPolicy(metadata.name ?? '')
  ) as Binding[]
}

function settingsOf(objects: KubernetesObject[]): unknown {
  const map = find<KubernetesObject & { data: Record<string, string> }>(
    objects,
    'ConfigMap',
    'rayguard'
  )
  return parse(map.data['config.yaml'] ?? '')
}

interface Schema {
  description?: string
  properties?: Record<string, Schema>
}

function undescribed(schema: Schema, path = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]) => [
    ...(child.description ? [] : [`${path}${key}`]),
    ...undescribed(child, `${path}${key}.`)
  ])
}
