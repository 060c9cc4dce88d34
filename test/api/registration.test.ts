/** `rayguard register` and `unregister` against the real API server, beside what Helm and the webhook itself own. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAllDocuments, stringify } from 'yaml'
import { registerCommand } from '../../src/cli/register.ts'
import { command as unregister } from '../../src/cli/unregister.ts'
import type {
  KubernetesObject,
  LabelSelector,
  WebhookConfiguration
} from '../../src/kubernetes/objects.ts'
import { runCommand } from '../support/cli.ts'
import { type ClusterApi, connect, makeToken, skip } from '../support/cluster.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { readManifest, toInput } from '../support/cluster-manifest.ts'

const group = '/apis/admissionregistration.k8s.io/v1'
const kinds = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration']
const placeOf = (kind: string) => `${group}/${kind.toLowerCase()}s/rayguard`
const register = registerCommand({ waitMs: 300, everyMs: 50 })
const kubeconfig = ['--kubeconfig', process.env.KUBECONFIG ?? '']

t.test('the registration, by hand', { skip }, async t => {
  const api = await connect()
  const clean = () => runCommand(unregister, kubeconfig)
  t.teardown(async () => {
    await clean()
    api.close()
  })
  await clean()
  const run = (...argumentsList: string[]) =>
    runCommand(register, [...kubeconfig, ...argumentsList])

  await t.test('a dry run changes nothing', async t => {
    const { code, out } = await run('--force', '--dry-run', '-o', 'yaml')
    t.equal(code, 0)
    const shown = parseAllDocuments(out).map(document => document.toJS())
    t.strictSame(
      shown.map(({ kind, webhooks }) => [kind, webhooks.length]),
      [
        [kinds[0], 2],
        [kinds[1], 1]
      ],
      'what would stand is shown'
    )
    t.strictSame(await standing(api), [])
  })

  await t.test('without a webhook ready it refuses', async t => {
    t.match(await run(), { code: 1, err: /No replica/ })
    t.strictSame(await standing(api), [])
  })

  await t.test('who lacks a right is told which, and nothing is written', async t => {
    const token = await makeToken(api, 'default', 'default')
    const server = { server: api.server, 'certificate-authority-data': btoa(api.ca) }
    const file = join(t.testdir({}), 'kubeconfig')
    const config = {
      clusters: [{ name: 'a', cluster: server }],
      users: [{ name: 'a', user: { token } }],
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      'current-context': 'a'
    }
    writeFileSync(file, stringify(config))
    for (const [command, flags, missing] of [
      [
        register,
        ['--force'],
        /cannot get resource "validatingadmissionpolicies".*register --help/s
      ],
      [
        unregister,
        [],
        /cannot list resource "validatingadmissionpolicybindings".*unregister --help/s
      ]
    ] as const) {
      const { code, err } = await runCommand(command, ['--kubeconfig', file, ...flags])
      t.equal(code, 1)
      t.match(err, missing)
      t.notMatch(err, token)
    }
    t.strictSame(await standing(api), [])
  })

  await t.test('a canary, then all', async t => {
    // nobody announces a CA here
    t.match(await run('--force', '--canary', 'default'), { code: 1, err: /written a caBundle/ })
    t.strictSame(await covered(api), Array(3).fill('In default'))
    await announce(api)
    t.match(await run('--force'), { code: 0, out: /all namespaces/ })
    t.strictSame(await covered(api), Array(3).fill('NotIn rayguard-system,kube-system'))
    t.ok(
      (await entries(api)).every(({ clientConfig }) => clientConfig?.caBundle),
      'what the webhook wrote stays'
    )
    t.match(await run('--force'), { code: 0 }, 'once more is the same')
  })

  await t.test('fields of others are not taken without being told to', async t => {
    await clean()
    const manifest = await registration()
    await kubectl(['apply', '--server-side', '--field-manager=helm', '-f', '-'], toInput(manifest))
    await announce(api)
    await webhookIsReady(t)
    t.match(await run('--dry-run'), { code: 0 }, 'the same values are no conflict')
    t.match(await run('--canary', 'default'), { code: 1, err: /helm.*--force/s })
    t.strictSame(
      await covered(api),
      Array(3).fill('NotIn rayguard-system,kube-system'),
      'nothing is half written'
    )
    t.match(await run('--canary', 'default', '--force'), { code: 0 })
    t.strictSame(await covered(api), Array(3).fill('In default'))
  })

  await t.test('unregister takes away what blocks, and nothing else', async t => {
    const manifest = (await readManifest()).filter(({ kind = '' }) =>
      kind.startsWith('ValidatingAdmissionPolicy')
    )
    const foreign = structuredClone(
      manifest.find(({ kind }) => kind === 'ValidatingAdmissionPolicyBinding')
    ) as KubernetesObject & { spec: { policyName: string } }
    foreign.metadata.name = 'of-somebody-else'
    foreign.spec.policyName = 'of-somebody-else'
    // The guard of an account of ours, which a copied binding is as good as.
    const guard = structuredClone(foreign)
    guard.metadata.name = guard.spec.policyName = 'rayguard-replacement'
    const objects = toInput([...manifest, foreign, guard])
    t.teardown(() => kubectl(['delete', '--ignore-not-found', '-f', '-'], objects))
    await kubectl(['apply', '--server-side', '-f', '-'], objects)
    const before = await bindings(api)
    t.ok(before.length > 3, 'there are bindings of ours')
    t.match(await runCommand(unregister, [...kubeconfig, '--dry-run']), {
      code: 0,
      out: /would be deleted/
    })
    t.strictSame(await bindings(api), before, 'a dry run deletes nothing')
    const { code, out, err } = await clean()
    t.equal(code, 0, err)
    const lines = out.trim().split('\n')
    t.match(lines.at(-1), /MutatingWebhookConfiguration rayguard deleted/, 'the webhook goes last')
    t.strictSame(
      await bindings(api),
      ['of-somebody-else', 'rayguard-own-objects', 'rayguard-replacement'],
      'what is about pods is gone'
    )
    t.strictSame(await standing(api), [])
    t.equal(
      (await api.list(`${group}/validatingadmissionpolicies`)).length > 0,
      true,
      'the policies stay'
    )
    t.match(await clean(), { code: 0, out: /Nothing of Rayguard/ })
  })

  await t.test('the policies are bound where the webhook is asked, and nowhere else', async t => {
    const policies = (await readManifest()).filter(
      ({ kind, metadata }) =>
        kind === 'ValidatingAdmissionPolicy' && metadata.name !== 'rayguard-own-objects'
    )
    t.teardown(() => kubectl(['delete', '--ignore-not-found', '-f', '-'], toInput(policies)))
    const onServer = ['apply', '--server-side', '--force-conflicts', '-f', '-']
    await kubectl(onServer, toInput(policies))
    const names = policies.map(({ metadata }) => metadata.name ?? '').sort()
    // the other half of the installation
    const everywhere = 'NotIn rayguard-system,kube-system'

    t.match(await run('--force', '--canary', 'default'), { code: 1, err: /written a caBundle/ })
    t.strictSame(await ours(api), [], 'nothing is bound while nobody answers')
    await announce(api)
    t.match(await run('--force', '--canary', 'default'), { code: 0, out: /5 policies/ })
    t.strictSame(
      await boundTo(api),
      names.map(name => `${name}: In default`),
      'to the canary'
    )
    t.match(await run('--force'), { code: 0 })
    t.strictSame(
      await boundTo(api),
      names.map(name => `${name}: ${everywhere}`),
      'to all'
    )
    t.match(await run('--force', '--canary', 'default'), { code: 0 }, 'and back to one')
    t.strictSame(
      await boundTo(api),
      names.map(name => `${name}: In default`)
    )
    await clean()
    t.strictSame(await ours(api), [], 'they go with the registration')
  })
})

async function registration(): Promise<KubernetesObject[]> {
  return (await readManifest()).filter(({ kind = '' }) => kinds.includes(kind))
}

async function standing(api: ClusterApi): Promise<WebhookConfiguration[]> {
  const found = await Promise.all(kinds.map(kind => api.find<WebhookConfiguration>(placeOf(kind))))
  return found.flatMap(each => (each === undefined ? [] : [each]))
}

async function entries(api: ClusterApi) {
  return (await standing(api)).flatMap(({ webhooks }) => webhooks ?? [])
}

/** As the webhook does it: one field of each entry, under its own name. */
async function announce(api: ClusterApi): Promise<void> {
  const caBundle = Buffer.from(api.ca).toString('base64')
  for (const kind of kinds) {
    const { webhooks } = await api.get<WebhookConfiguration>(placeOf(kind))
    const written = {
      ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind },
      metadata: { name: 'rayguard' },
      webhooks: webhooks?.map(({ name }) => ({
        ...{ name, clientConfig: { caBundle } },
        ...{ sideEffects: 'None', admissionReviewVersions: ['v1'] }
      }))
    }
    const flags = ['--server-side', '--force-conflicts', '--field-manager=rayguard']
    await kubectl(['apply', ...flags, '-f', '-'], JSON.stringify(written))
  }
}

/** A Service without pods, whose endpoint is written by hand: nothing runs pods here. */
async function webhookIsReady(t: Test): Promise<void> {
  const labels = { 'kubernetes.io/service-name': 'rayguard-webhook' }
  const metadata = { name: 'rayguard-webhook-by-hand', namespace: 'rayguard-system', labels }
  const slice = {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.0.2.1'], conditions: { ready: true } }],
    ports: [{ name: 'https', port: 8443 }]
  }
  const namespace = (await readManifest()).find(({ kind }) => kind === 'Namespace')
  const objects = toInput([...(namespace ? [namespace] : []), slice])
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], objects)
  t.teardown(() => kubectl(['delete', '--ignore-not-found', '-f', '-'], toInput([slice])))
}

async function covered(api: ClusterApi): Promise<string[]> {
  return (await entries(api)).map(({ namespaceSelector }) => {
    const [where] = namespaceSelector?.matchExpressions ?? []
    return `${where?.operator} ${where?.values?.join(',')}`
  })
}

async function ours(api: ClusterApi): Promise<string[]> {
  return (await bindings(api)).filter(name => /^rayguard-(?!own-)/.test(name))
}

async function boundTo(api: ClusterApi): Promise<string[]> {
  const found = await api.list<Binding>(`${group}/validatingadmissionpolicybindings`)
  return found
    .filter(({ metadata }) => /^rayguard-(?!own-)/.test(metadata.name ?? ''))
    .map(({ metadata, spec }) => {
      const [where] = spec.matchResources.namespaceSelector.matchExpressions ?? []
      return `${metadata.name}: ${where?.operator} ${where?.values?.join(',')}`
    })
    .sort()
}

interface Binding extends KubernetesObject {
  spec: { matchResources: { namespaceSelector: LabelSelector } }
}

async function bindings(api: ClusterApi): Promise<string[]> {
  const found = await api.list<KubernetesObject>(`${group}/validatingadmissionpolicybindings`)
  return found.map(({ metadata }) => metadata.name ?? '').sort()
}
