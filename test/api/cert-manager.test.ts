/**
 * The serving certificates of others: the chart's values for cert-manager with the real cert-manager, and for a Secret that
 * somebody keeps. The webhook is a process here; what the kubelet does with a mounted Secret is played.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { command as register } from '../../src/cli/register.ts'
import { command as unregister } from '../../src/cli/unregister.ts'
import type {
  ConfigMap,
  KubernetesObject,
  Secret,
  WebhookConfiguration
} from '../../src/kubernetes/objects.ts'
import { runCommand } from '../support/cli.ts'
import { type ClusterApi, connect, eventually, makeNamespace, skip } from '../support/cluster.ts'
import { makeCa, makePair } from '../support/cluster-certificates.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { readManifest, toInput } from '../support/cluster-manifest.ts'
import { type Component, type ServeProcess, startServe } from '../support/cluster-process.ts'
import { direct, injected, namedService, trusts } from '../support/cluster-served.ts'

const own = 'rayguard-system'
const without = skip || skipWithoutHelm
const kubeconfig = ['--kubeconfig', process.env.KUBECONFIG ?? '']
const registrations = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'].map(
  kind => ({
    kind,
    place: `/apis/admissionregistration.k8s.io/v1/${kind.toLowerCase()}s/rayguard`
  })
)
const certificates = `/apis/cert-manager.io/v1/namespaces/${own}/certificates`
const rights = /^(ServiceAccount|(Cluster)?Role(Binding)?)$/

t.test('certificates by cert-manager', { skip: without }, async t => {
  const tenant = 'certified'
  const cluster = (...argumentsList: string[]) =>
    execFileSync('test/cluster/cluster', argumentsList, { stdio: 'pipe' })
  cluster('cert-manager')
  t.teardown(() => {
    for (const name of ['cert-manager', 'cert-manager-cainjector']) cluster('kill', name)
  })
  const { api, folder, objects, serve } = await stage(t, tenant, 'serving.kind=certManager')

  const secrets = new Map<Component, Secret>()
  for (const component of ['webhook', 'enrollment'] as const) {
    const path = `/api/v1/namespaces/${own}/secrets/rayguard-${component}-tls`
    const secret = await eventually(`the Secret of the ${component}`, () => api.find<Secret>(path))
    secrets.set(component, secret)
    mount(join(folder, component), secret)
  }
  // of the enrollment server's Secret the webhook sees the certificate of its CA alone
  const { data: { 'ca.crt': trusted = '' } = {} as Record<string, string> } = secrets.get(
    'enrollment'
  ) as Secret & { data: Record<string, string> }
  mount(join(folder, 'enrollment-ca'), { metadata: {}, data: { 'ca.crt': trusted } })
  const [webhook, enrollment] = [await serve('webhook'), await serve('enrollment')]

  await t.test('the API server trusts what the injector has written', async t => {
    await eventually('every entry has its caBundle', () => announced(api))
    await direct(api, webhook, tenant)
    t.ok(await injected(api, tenant), 'a pod is injected')
    t.ok(
      await trusts('enrollment', enrollment.port, text(trusted)),
      'pods trust the enrollment server by the CA that the webhook puts into them'
    )
    const account = `--as=system:serviceaccount:${own}:rayguard-webhook`
    for (const [verb, what] of [
      ['patch', 'mutatingwebhookconfigurations/rayguard'],
      ['patch', 'validatingwebhookconfigurations/rayguard'],
      ['create', 'secrets'],
      ['get', 'secrets/rayguard-webhook-tls']
    ] as const) {
      const { stdout } = await run('kubectl', ['-n', own, 'auth', 'can-i', verb, what, account])
      t.equal(stdout, 'no\n', `the webhook has no right to ${verb} ${what}`)
    }
  })

  await t.test('a renewed certificate is served as soon as the kubelet has brought it', async t => {
    const path = `/api/v1/namespaces/${own}/secrets/rayguard-webhook-tls`
    const before = text(secrets.get('webhook')?.data?.['tls.crt'])
    const certificate = await api.get<KubernetesObject>(`${certificates}/rayguard-webhook`)
    // what `cmctl renew` does: https://cert-manager.io/docs/reference/cmctl/#renew
    const condition = { type: 'Issuing', status: 'True', reason: 'Renewed', message: 'by a test' }
    await api.patch(`${certificates}/rayguard-webhook/status`, {
      ...{ apiVersion: certificate.apiVersion, kind: certificate.kind },
      status: { conditions: [condition] }
    })
    const renewed = await eventually('cert-manager issues another', async () => {
      const secret = await api.get<Secret>(path)
      return text(secret.data?.['tls.crt']) !== before && secret
    })
    mount(join(folder, 'webhook'), renewed)
    await eventually('it is served', async () =>
      (await webhook.log()).includes('the server certificate is read anew')
    )
    t.ok(await trusts('webhook', webhook.port, text(renewed.data?.['ca.crt'])), 'with its own key')
    t.ok(await injected(api, tenant), 'the API server goes on')
  })

  await t.test('half a pair is not taken', async t => {
    const { data, metadata } = await api.get<Secret>(
      `/api/v1/namespaces/${own}/secrets/rayguard-webhook-tls`
    )
    const { data: other } = secrets.get('enrollment') as Secret
    mount(join(folder, 'webhook'), {
      metadata,
      data: { ...data, 'tls.key': other?.['tls.key'] ?? '' }
    })
    await eventually('the log says so', async () =>
      (await webhook.log()).includes('the former one stays')
    )
    t.ok(await injected(api, tenant), 'the former pair is served')
    t.notMatch(await webhook.log(), /BEGIN/, 'no key in the log')
    mount(join(folder, 'webhook'), { metadata, data: data ?? {} })
  })

  await t.test('registered by hand, the injector writes the caBundle as well', async t => {
    t.equal((await runCommand(unregister, kubeconfig)).code, 0)
    const { code, err } = await runCommand(register, [...kubeconfig, '--cert-manager'])
    t.equal(code, 0, err)
    for (const { kind, place } of registrations) {
      const { metadata } = await api.get<WebhookConfiguration>(place)
      const ofChart = objects.find(object => object.kind === kind)
      const annotation = 'cert-manager.io/inject-ca-from'
      t.equal(
        metadata.annotations?.[annotation],
        ofChart?.metadata.annotations?.[annotation],
        'from the certificate that the chart asks for'
      )
    }
    await direct(api, webhook, tenant)
    t.ok(await injected(api, tenant), 'a pod is injected')
  })
})

t.test('certificates in Secrets that somebody keeps', { skip: without }, async t => {
  const tenant = 'kept'
  const { api, folder, serve } = await stage(t, tenant, 'serving.kind=secret')
  const bring = (name: string) => {
    const ca = makeCa(folder, name)
    const pair = makePair(folder, `${name}-leaf`, ca, `DNS:rayguard-webhook.${own}.svc`)
    const read = (file: string) => execFileSync('base64', ['-w0', file], { encoding: 'utf8' })
    mount(join(folder, 'webhook'), {
      metadata: {},
      data: {
        'ca.crt': read(ca.certificateFile),
        'tls.crt': read(pair.certificateFile),
        'tls.key': read(pair.privateKeyFile)
      }
    })
    return ca.certificate
  }
  const first = bring('first')
  const data = { 'ca.crt': Buffer.from(first).toString('base64') }
  mount(join(folder, 'enrollment-ca'), { metadata: {}, data })
  const webhook = await serve('webhook')

  await t.test('the webhook announces the CA beside its certificate', async t => {
    await eventually('it is announced', () => announced(api, first))
    await direct(api, webhook, tenant)
    t.ok(await injected(api, tenant), 'a pod is injected')
  })

  await t.test('another CA and another certificate are taken together', async t => {
    const second = bring('second')
    await eventually('the other one is announced', () => announced(api, second))
    await eventually('it is served', () =>
      trusts('webhook', webhook.port, second).catch(() => false)
    )
    await eventually('a pod is injected', () => injected(api, tenant).catch(() => false))
    t.pass('without a restart')
  })
})

interface Stage {
  api: ClusterApi
  folder: string
  objects: KubernetesObject[]
  /** The component with the settings of the chart; what it mounts lies in folders of these names. */
  serve(component: Component): Promise<ServeProcess>
}

/** The chart with these values, but for what runs pods and routes to them. */
async function stage(t: Test, tenant: string, values: string): Promise<Stage> {
  const api = await connect()
  const folder = t.testdir()
  const objects = renderChart(values).filter(
    ({ kind = '' }) => !/^(Deployment|Service)$|Policy|Budget/.test(kind)
  )
  const created = objects.filter(({ kind }) => kind !== 'Namespace')
  const remove = (all: KubernetesObject[]) =>
    kubectl(['delete', '--ignore-not-found', '--wait', '-f', '-'], toInput(all))
  const processes: ServeProcess[] = []
  t.teardown(async () => {
    for (const each of processes) await each.stop()
    await runCommand(unregister, kubeconfig)
    await remove([...created, ...namedService()])
    await api.delete(`/api/v1/namespaces/${tenant}`)
    api.close()
  })
  const manifest = await readManifest()
  // other tests leave more rights behind than these values give
  await remove(manifest.filter(({ kind = '' }) => rights.test(kind)))
  await runCommand(unregister, kubeconfig)
  const namespace = manifest.filter(({ kind }) => kind === 'Namespace')
  const all = [...namespace, ...created, ...namedService()]
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], toInput(all))
  await makeNamespace(api, tenant)

  const ca = makeCa(folder, 'ray-pods')
  const [map] = objects.filter(({ kind }) => kind === 'ConfigMap') as ConfigMap[]
  const config = map?.data?.['config.yaml'] ?? ''
  return {
    ...{ api, folder, objects },
    async serve(component) {
      const settings = parse(
        config
          .replaceAll('/etc/rayguard/serving', join(folder, component))
          .replaceAll('/etc/rayguard/enrollment-ca', join(folder, 'enrollment-ca'))
          .replace('/etc/rayguard/authority/tls.crt', ca.certificateFile)
          .replace('/etc/rayguard/authority/tls.key', ca.privateKeyFile)
      )
      settings.injection.image = 'registry.test/rayguard:0.1.0'
      const started = await startServe(api, { folder, component, settings })
      processes.push(started)
      return started
    }
  }
}

/** As the kubelet does: a new folder, and one rename that changes all files at once. */
function mount(place: string, { data }: Secret): void {
  const version = `..${process.hrtime.bigint()}`
  mkdirSync(join(place, version), { recursive: true })
  for (const [key, value] of Object.entries(data ?? {})) {
    writeFileSync(join(place, version, key), Buffer.from(value, 'base64'))
    try {
      symlinkSync(join('..data', key), join(place, key))
    } catch {
      // From the first time.
    }
  }
  symlinkSync(version, join(place, `${version}.link`))
  renameSync(join(place, `${version}.link`), join(place, '..data'))
}

/** Whether every entry has a caBundle, of this CA if one is given. */
async function announced(api: ClusterApi, ca = ''): Promise<boolean> {
  const found = await Promise.all(
    registrations.map(({ place }) => api.get<WebhookConfiguration>(place))
  )
  return found
    .flatMap(({ webhooks }) => webhooks ?? [])
    .every(({ clientConfig }) => {
      const bundle = text(clientConfig?.caBundle ?? '')
      return bundle.includes('BEGIN CERTIFICATE') && bundle.includes(ca)
    })
}

function text(base64: string | undefined): string {
  return Buffer.from(base64 ?? '', 'base64').toString()
}
