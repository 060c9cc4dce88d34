/** The real API server takes what the chart, the one YAML and the kustomization make, and our own pods under `restricted`. */
import { execFileSync } from 'node:child_process'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { ApiFailure, type ClusterApi, connect, skip } from '../support/cluster.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { readManifest, toInput } from '../support/cluster-manifest.ts'
import { foundProgram } from '../support/found-program.ts'

const namespace = 'rayguard-system'
const helm = foundProgram('helm')
const noHelm = helm === undefined && 'helm is not installed: test/cluster/build helm builds one'

const valueSets: Record<string, string[]> = {
  'as it comes': [],
  'with Secrets of others and a private registry': [
    'serving.kind=secret',
    'imagePullSecrets={ours}',
    'webhook.podLabels.team=platform',
    'enrollment.tolerations[0].operator=Exists',
    'networkPolicies.extraEgress[0].ports[0].port=8200'
  ],
  'with cert-manager': ['serving.kind=certManager'],
  'with little': [
    'policies.exec=false',
    'networkPolicies.enabled=false',
    'priorityClass.create=false',
    'priorityClass.name='
  ]
}

t.test('the API server takes the manifests', { skip }, async t => {
  const api = await connect()
  t.teardown(() => api.close())
  // what pods of ours need to be judged at all; everything else is only tried
  const needed = (await readManifest()).filter(({ kind = '' }) =>
    ['Namespace', 'ServiceAccount', 'PriorityClass'].includes(kind)
  )
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], toInput(needed))

  await t.test('the one YAML', async t => judge(t, api, await readManifest()))

  await t.test('the kustomization, with another image everywhere', async t => {
    const text = await kubectl(['kustomize', 'manifests'])
    t.equal(count(text), count(toInput(await readManifest())), 'every place of the image is kept')
    await judge(t, api, parseDocuments(text))
  })

  for (const kind of ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'])
    await t.test(`applied again, the ${kind} keeps what the webhook has written`, async t => {
      const name = `${kind.toLowerCase()}/rayguard`
      const registration = toInput((await readManifest()).filter(object => object.kind === kind))
      t.teardown(() => kubectl(['delete', '--ignore-not-found', name]))
      await kubectl(['apply', '-f', '-'], registration)
      const entries = JSON.parse(registration).webhooks as { name: string }[]
      const caBundle = Buffer.from(api.ca).toString('base64')
      const written = {
        ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind },
        metadata: { name: 'rayguard' },
        webhooks: entries.map(each => ({
          ...{ name: each.name, clientConfig: { caBundle } },
          ...{ sideEffects: 'None', admissionReviewVersions: ['v1'] }
        }))
      }
      const onServer = ['apply', '--server-side', '--force-conflicts', '-f', '-']
      await kubectl([...onServer, '--field-manager=rayguard'], JSON.stringify(written))
      // as people do it, and as GitOps tools do
      const patient = (timeoutSeconds: number) =>
        registration.replace(/"timeoutSeconds":\d/g, `"timeoutSeconds":${timeoutSeconds}`)
      await kubectl(['apply', '-f', '-'], patient(6))
      await kubectl([...onServer, '--field-manager=gitops'], patient(7))
      const { webhooks } = JSON.parse(await kubectl(['get', name, '-o', 'json']))
      for (const webhook of webhooks)
        t.match(
          webhook,
          { timeoutSeconds: 7, clientConfig: { caBundle } },
          `${webhook.name} is changed and trusted`
        )
    })

  for (const [title, values] of Object.entries(valueSets)) {
    await t.test(`the chart ${title}`, { skip: noHelm }, async t => {
      const flags = values.flatMap(value => ['--set', value])
      const text = execFileSync(
        helm ?? '',
        ['template', 'rayguard', 'manifests/chart', '--namespace', namespace, ...flags],
        { encoding: 'utf8' }
      )
      await judge(t, api, parseDocuments(text))
    })
  }
})

async function judge(t: Test, api: ClusterApi, objects: KubernetesObject[]): Promise<void> {
  // kinds that another project brings
  const known = objects.filter(({ apiVersion }) => !/cert-manager|coreos/.test(apiVersion ?? ''))
  // on the server's side: other tests have made some of these, which a client's apply would warn of
  const flags = ['--server-side', '--force-conflicts', '--dry-run=server', '--validate=strict']
  const { code, stderr } = await run('kubectl', ['apply', ...flags, '-f', '-'], toInput(known))
  t.equal(code, 0, `all ${known.length} objects are taken: ${stderr}`)
  t.notMatch(stderr, /^Warning/m, 'without a warning')
  for (const { kind, metadata, spec } of known as (KubernetesObject & {
    spec: { template: Pod }
  })[]) {
    if (kind !== 'Deployment') continue
    const pod = { metadata: { ...spec.template.metadata, name: 'probe' }, spec: spec.template.spec }
    const answer = await api
      .create<Pod>(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, pod)
      .catch((error: ApiFailure) => error)
    t.notOk(answer instanceof ApiFailure, `${metadata.name} runs under restricted: ${answer}`)
  }
}

function parseDocuments(text: string): KubernetesObject[] {
  return parseAllDocuments(text)
    .map(document => document.toJS())
    .filter(object => object !== null)
}

function count(text: string): number {
  return text.split('registry.example/rayguard:0.1.0').length - 1
}
