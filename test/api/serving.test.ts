/**
 * Our own server certificates between processes of `rayguard serve` and the real API server: all replicas come to one CA,
 * the API server trusts it through `rayguard register`, and what somebody damages is put right.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { command as register } from '../../src/cli/register.ts'
import { command as unregister } from '../../src/cli/unregister.ts'
import type {
  ConfigMap,
  KubernetesObject,
  Secret,
  WebhookConfiguration
} from '../../src/kubernetes/objects.ts'
import { runCommand } from '../support/cli.ts'
import {
  ApiFailure,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  skip
} from '../support/cluster.ts'
import { makeCa } from '../support/cluster-certificates.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { toInput } from '../support/cluster-manifest.ts'
import {
  type Component,
  createRights,
  type ServeProcess,
  startServe
} from '../support/cluster-process.ts'
import { direct, injected, makes, namedService, trusts, warned } from '../support/cluster-served.ts'

const own = 'rayguard-system'
const tenant = 'served'
const kubeconfig = ['--kubeconfig', process.env.KUBECONFIG ?? '']
const group = '/apis/admissionregistration.k8s.io/v1'
const registration = `${group}/mutatingwebhookconfigurations/rayguard`
const warnings = `${group}/validatingwebhookconfigurations/rayguard`
const secretOf = (component: Component) =>
  `/api/v1/namespaces/${own}/secrets/rayguard-${component}-serving`
const published = `/api/v1/namespaces/${own}/configmaps/rayguard-enrollment-ca`

t.test('our own server certificates', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const replicas: ServeProcess[] = []
  const ca = makeCa(folder, 'ray-pods')
  await createRights(api)
  await makeNamespace(api, tenant)
  const clean = async () => {
    await runCommand(unregister, kubeconfig)
    for (const path of [secretOf('webhook'), secretOf('enrollment'), published])
      await api.delete(path)
  }
  t.teardown(async () => {
    for (const replica of replicas) await replica.stop()
    await clean()
    await kubectl(['delete', '--ignore-not-found', '-f', '-'], toInput(namedService()))
    await api.delete(`/api/v1/namespaces/${tenant}`)
    api.close()
  })
  await clean()

  async function start(
    component: Component,
    name: string,
    preload?: string
  ): Promise<ServeProcess> {
    const replica = await startServe(api, {
      ...{ folder, component, name },
      ...(preload === undefined ? {} : { preload }),
      settings: {
        serving: { kind: 'selfManaged' },
        injection: { image: 'registry.test/rayguard:0.1.0' },
        ...(component === 'enrollment'
          ? {
              authority: {
                kind: 'pem',
                certificateFile: ca.certificateFile,
                privateKeyFile: ca.privateKeyFile
              }
            }
          : {})
      }
    })
    replicas.push(replica)
    return replica
  }

  const [one, two, three, four] = await Promise.all([
    start('webhook', 'webhook-1'),
    start('webhook', 'webhook-2'),
    start('enrollment', 'enrollment-1'),
    start('enrollment', 'enrollment-2')
  ])

  await t.test('attack 59: replicas that start at the same moment come to one CA', async t => {
    for (const [component, pair] of [
      ['webhook', [one, two]],
      ['enrollment', [three, four]]
    ] as const) {
      const anchor = await anchorOf(api, component)
      for (const { port } of pair)
        t.ok(await trusts(component, port, anchor), `${component} ${port}`)
      const begun = await Promise.all(pair.map(each => each.log()))
      t.equal(begun.join().split('"step":"begin"').length - 1, 1, 'one of them has made it')
    }
    const { data } = await api.get<ConfigMap>(published)
    t.equal(data?.['ca.crt'], await anchorOf(api, 'enrollment'), 'pods are told the same CA')
    t.not(await anchorOf(api, 'webhook'), await anchorOf(api, 'enrollment'), 'each has its own')
  })

  await t.test('registered by hand, the API server asks and trusts each of them', async t => {
    await kubectl(['apply', '--server-side', '-f', '-'], toInput(namedService()))
    const { code, err } = await runCommand(register, kubeconfig)
    t.equal(code, 0, err)
    for (const replica of [one, two]) {
      await direct(api, replica, tenant)
      t.ok(await injected(api, tenant), 'a pod is injected')
      t.match(await warned(tenant), /^Warning: rayguard: /, 'who applies a RayCluster is warned')
    }
    for (const [place, count] of [
      [registration, 2],
      [warnings, 1]
    ] as const) {
      const { metadata, webhooks } = await api.get<Managed>(place)
      t.equal(webhooks?.length, count)
      const fields = metadata.managedFields.find(({ manager }) => manager === 'rayguard')?.fieldsV1
      t.match(JSON.stringify(fields), 'f:caBundle', 'the webhook owns the caBundle')
      t.notMatch(
        JSON.stringify(fields),
        /f:(namespaceSelector|rules|failurePolicy|service)/,
        'and nothing that decides who is asked'
      )
    }
    t.strictSame(await inOnePiece(api), Array(3).fill(true), 'all trust the CA in the Secret')
  })

  await t.test('a Secret that is deleted comes back as it was', async t => {
    for (const component of ['webhook', 'enrollment'] as const) {
      const before = await api.get<Secret>(secretOf(component))
      await api.delete(secretOf(component))
      const after = await eventually(`the Secret of the ${component}`, () =>
        api.find<Secret>(secretOf(component))
      )
      t.strictSame(after.data, before.data, `that of the ${component}, with the same CA`)
      t.not(after.metadata.uid, before.metadata.uid, 'made anew')
    }
    t.ok(await injected(api, tenant), 'the API server has noticed nothing')
  })

  await t.test('a damaged Secret is repaired', async t => {
    const garbage = Buffer.from('not a key').toString('base64')
    const damage = async (component: Component) => {
      const before = await api.get<Secret>(secretOf(component))
      for (const key of ['tls.key', 'ca.key', 'ca.crt']) {
        await api.patch(secretOf(component), { data: { [key]: garbage } })
        await eventually(`${key} of the ${component}`, async () => {
          const { data } = await api.get<Secret>(secretOf(component))
          return JSON.stringify(data) === JSON.stringify(before.data)
        })
      }
    }
    await Promise.all([damage('webhook'), damage('enrollment')])
    t.ok(await injected(api, tenant), 'pods were made all the while')
    const logs = (await Promise.all(replicas.map(each => each.log()))).join()
    t.match(logs, /"step":"repair"/, 'the log says so')
    t.notMatch(logs, /BEGIN|not a key/, 'and shows neither a key nor what was there')
  })

  await t.test('a caBundle that somebody edits is put right', async t => {
    const other = Buffer.from(ca.certificate).toString('base64')
    const [first] = (await api.get<WebhookConfiguration>(registration)).webhooks ?? []
    const edit = [
      { op: 'replace', path: '/webhooks/0/clientConfig/caBundle', value: other },
      { op: 'remove', path: '/webhooks/1/clientConfig/caBundle' }
    ]
    await kubectl([
      ...['patch', 'mutatingwebhookconfiguration', 'rayguard', '--type=json'],
      ...['--field-manager=somebody', `--patch=${JSON.stringify(edit)}`]
    ])
    await kubectl([
      ...['patch', 'validatingwebhookconfiguration', 'rayguard', '--type=json'],
      ...['--field-manager=somebody', `--patch=${JSON.stringify(edit.slice(0, 1))}`]
    ])
    await eventually('all are right', async () => (await inOnePiece(api)).every(each => each))
    const { webhooks } = await api.get<WebhookConfiguration>(registration)
    t.strictSame(webhooks?.[0], first, 'nothing else has changed')
    await eventually('a pod is injected', () => injected(api, tenant))
    await eventually('and warnings come', async () => (await warned(tenant)) !== '')
  })

  await t.test('attack: the CA that pods trust is replaced', async t => {
    const { data } = await api.get<ConfigMap>(published)
    await api.patch(published, { data: { 'ca.crt': ca.certificate } })
    await eventually('it is put right', async () => {
      const found = await api.get<ConfigMap>(published)
      return found.data?.['ca.crt'] === data?.['ca.crt']
    })
    t.pass('within one look of the enrollment server')
  })

  await t.test('a replica whose clock is an hour off does no harm', async t => {
    const before = await api.get<Secret>(secretOf('webhook'))
    for (const [name, hours] of [
      ['ahead', 1],
      ['behind', -1]
    ] as const) {
      const module = join(folder, `${name}.mjs`)
      await writeFile(module, clockModule(hours))
      const replica = await start('webhook', name, module)
      t.ok(await trusts('webhook', replica.port, await anchorOf(api, 'webhook')), `${name}: serves`)
      await direct(api, replica, tenant)
      t.ok(await injected(api, tenant), `${name}: the API server trusts it`)
      const [skew = ''] = await replica.metrics('rayguard_clock_skew_seconds ')
      const seconds = Number(skew.split(' ')[1])
      t.ok(Math.abs(seconds + hours * 3600) < 60, `${name}: says by how much: ${skew}`)
      t.match(await replica.log(), /"code":"ClockSkew"/, `${name}: the log says so`)
      await replica.stop()
      await direct(api, one, tenant)
    }
    const after = await api.get<Secret>(secretOf('webhook'))
    t.strictSame(after.data, before.data, 'the others keep what they have')
  })

  await t.test('attack: a namespace sheds its labels to leave the selection', async t => {
    await api
      .patch(`/api/v1/namespaces/${tenant}`, {
        metadata: { labels: { 'kubernetes.io/metadata.name': own } }
      })
      .catch(() => {})
    await api.patch(`/api/v1/namespaces/${tenant}`, {
      metadata: { labels: { 'kubernetes.io/metadata.name': null } }
    })
    const { metadata } = await api.get<KubernetesObject>(`/api/v1/namespaces/${tenant}`)
    t.equal(metadata.labels?.['kubernetes.io/metadata.name'], tenant, 'the API server puts it back')
    t.ok(await injected(api, tenant), 'its pods are still injected')
  })

  await t.test('with no replica left Ray pods wait, and nothing else does', async t => {
    for (const replica of [one, two]) await replica.stop('SIGKILL')
    await t.rejects(injected(api, tenant), ApiFailure, 'a Ray pod is refused')
    t.ok(await makes(api, tenant, {}), 'any other pod is made')
    t.equal(await warned(tenant), '', 'a RayCluster is taken, without a warning')
    // else the webhook itself, or what it needs to run, could never come back
    for (const namespace of [own, 'kube-system'])
      t.notOk(await injected(api, namespace), `${namespace} is never asked about`)
    const back = await start('webhook', 'webhook-3')
    await direct(api, back, tenant)
    t.ok(await injected(api, tenant), 'a replica that comes back is trusted at once')
  })

  await t.test('attack: the registration is deleted', async t => {
    for (const place of [registration, warnings]) await api.delete(place)
    const replica = replicas.at(-1) as ServeProcess
    await eventually('the metric says so', async () =>
      (await replica.metrics('rayguard_webhook_entries ')).includes('rayguard_webhook_entries 0')
    )
    for (const place of [registration, warnings])
      t.equal(await api.find(place), undefined, 'nobody brings back what was taken away')
  })
})

interface Managed extends WebhookConfiguration {
  metadata: KubernetesObject['metadata'] & {
    managedFields: { manager: string; fieldsV1: object }[]
  }
}

async function anchorOf(api: ClusterApi, component: Component): Promise<string> {
  const { data } = await api.get<Secret>(secretOf(component))
  return Buffer.from(data?.['ca.crt'] ?? '', 'base64').toString()
}

/** Whether the caBundle of each entry holds the CA of the Secret. */
async function inOnePiece(api: ClusterApi): Promise<boolean[]> {
  const anchor = await anchorOf(api, 'webhook')
  const found = await Promise.all(
    [registration, warnings].map(place => api.get<WebhookConfiguration>(place))
  )
  return found
    .flatMap(({ webhooks }) => webhooks ?? [])
    .map(({ clientConfig }) =>
      Buffer.from(clientConfig?.caBundle ?? '', 'base64')
        .toString()
        .includes(anchor)
    )
}

/** Shifts what a process takes for the time. */
function clockModule(hours: number): string {
  return `const shift = ${hours} * 3600_000
const Real = Date
globalThis.Date = class extends Real {
  constructor(...given) {
    if (given.length === 0) super(Real.now() + shift)
    else super(...given)
  }
  static now() {
    return Real.now() + shift
  }
}
`
}
