/** What kubectl shows to whoever applies a Ray resource, through the real API server; and that nothing is ever held up. */
import t from 'tap'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { connect, eventually, makeNamespace, skip } from '../support/cluster.ts'
import { auditedOnCreation } from '../support/cluster-audit.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { type RunningRayguard, startRayguard } from '../support/cluster-rayguard.ts'

type Members = Record<string, unknown>

const begin = 'Warning: rayguard: '

const container = (more: object = {}) => ({ name: 'ray', image: 'rayproject/ray:2.58.0', ...more })
const template = (more: object = {}) => ({ template: { spec: { containers: [container(more)] } } })
const privileged = { securityContext: { privileged: true } }
const clusterSpec = (more: object = {}) => ({
  rayVersion: '2.58.0',
  headGroupSpec: { rayStartParams: {}, ...template() },
  workerGroupSpecs: [
    {
      ...{ groupName: 'small', replicas: 1, minReplicas: 1, maxReplicas: 1, rayStartParams: {} },
      ...template(more)
    }
  ]
})
const resources: [string, Members, string][] = [
  ['RayCluster', clusterSpec(privileged), 'spec'],
  [
    'RayJob',
    { entrypoint: 'true', rayClusterSpec: clusterSpec(privileged) },
    'spec.rayClusterSpec'
  ],
  ['RayService', { rayClusterConfig: clusterSpec(privileged) }, 'spec.rayClusterConfig']
]

t.test('whoever applies a Ray resource is warned, and never held up', { skip }, async t => {
  const api = await connect()
  const rayguard = await startRayguard(api, t.testdir())
  await rayguard.register()
  const namespaces: string[] = []
  t.teardown(async () => {
    await rayguard.unregister()
    await rayguard.stop()
    for (const name of namespaces) await api.delete(`/api/v1/namespaces/${name}`)
    api.close()
  })
  const place = async (name: string, labels: Record<string, string> = {}) => {
    namespaces.push(name)
    return makeNamespace(api, name, labels)
  }
  /** The warnings of Rayguard's. Rejects when kubectl fails: nothing is to be refused. */
  const send = async (verb: string, object: KubernetesObject & Members, ...flags: string[]) => {
    const input = JSON.stringify(object)
    const { code, stderr } = await run('kubectl', [verb, ...flags, '-f', '-'], input)
    if (code !== 0) throw new Error(`kubectl ${verb}: ${stderr}`)
    return stderr.split('\n').filter(line => line.startsWith(begin))
  }
  const object = (
    kind: string,
    namespace: string,
    spec: Members,
    version = 'v1'
  ): KubernetesObject & Members => ({
    apiVersion: `ray.io/${version}`,
    kind,
    metadata: { name: `demo-${kind.toLowerCase()}`, namespace },
    spec
  })
  const tenant = await place('warned')
  await eventually('the registration is in force', async () => {
    const probe = object('RayCluster', tenant, clusterSpec())
    return (await send('create', probe, '--dry-run=server')).length > 0
  })

  for (const [kind, spec, at] of resources)
    for (const version of ['v1', 'v1alpha1'])
      await t.test(`a ${kind} of ${version}`, async t => {
        const wanted = object(kind, tenant, spec, version)
        const warnings = await send('apply', wanted)
        const head = `${at}.headGroupSpec.template.spec.containers[0]`
        const group = `${at}.workerGroupSpecs[0].template.spec.containers[0]`
        for (const [place, text] of [
          [
            group,
            ': violates restricted: privileged: must not set securityContext.privileged=true'
          ],
          [head, 'Rayguard mends allowPrivilegeEscalation, capabilities_restricted, runAsNonRoot']
        ] as const)
          t.ok(
            warnings.some(line => line.startsWith(`${begin}${place}`) && line.includes(text)),
            `${place}: ${text}`
          )
        const { metadata } = wanted
        const labelled = { ...wanted, metadata: { ...metadata, labels: { team: 'a' } } }
        t.strictSame(await send('apply', labelled), [], 'a label is nothing new')
        await kubectl(['delete', kind.toLowerCase(), metadata.name ?? '', '-n', tenant])
      })

  await t.test('a change is judged as it will be', async t => {
    await send('apply', object('RayCluster', tenant, clusterSpec()))
    const changed = object('RayCluster', tenant, clusterSpec(privileged))
    t.match((await send('apply', changed)).join('\n'), 'privileged: must not set')
    await kubectl(['delete', 'raycluster', '--all', '-n', tenant])
  })

  await t.test('what the namespace says decides, and even then nothing is refused', async t => {
    const enforcing = await place('warned-enforcing', { 'rayguard.dev/pod-security': 'enforce' })
    const paused = await place('warned-paused', { 'rayguard.dev/paused': 'yes' })
    const audited = await place('warned-audited', { 'rayguard.dev/pod-security': 'audit' })
    const of = (namespace: string) =>
      send('create', object('RayCluster', namespace, clusterSpec(privileged)))
    t.match((await of(enforcing)).join('\n'), 'its pods will be refused: privileged: ')
    t.strictSame(await of(paused), [], 'a paused namespace is left out')
    t.notMatch((await of(audited)).join('\n'), 'privileged')
    const said = await auditedOnCreation(audited, 'demo-raycluster')
    t.match(said['pod-security-violations'], 'workerGroupSpecs[0].template.spec.containers[0]: ')
    t.equal(said.modes, 'tls=tls pod-security=audit')
  })

  await t.test('the operator is not asked to read what it can not change', async t => {
    const before = await reviewed(rayguard)
    await send(
      'create',
      object('RayJob', tenant, { entrypoint: 'true', rayClusterSpec: clusterSpec() })
    )
    await eventually('KubeRay has made the RayCluster of it', async () =>
      (await api.list<KubernetesObject>(`/apis/ray.io/v1/namespaces/${tenant}/rayclusters`)).find(
        ({ metadata }) => metadata.ownerReferences?.some(({ kind }) => kind === 'RayJob')
      )
    )
    const after = await reviewed(rayguard)
    t.equal(after.get('RayJob'), (before.get('RayJob') ?? 0) + 1, 'the RayJob was looked at, once')
    t.equal(after.get('RayCluster'), before.get('RayCluster'), 'its RayCluster was not')
  })

  await t.test('an enormous resource is taken', async t => {
    const [worker] = clusterSpec().workerGroupSpecs
    const workerGroupSpecs = Array.from({ length: 400 }, (_, index) => ({
      ...worker,
      ...{ groupName: `group-${index}`, replicas: 0, minReplicas: 0 }
    }))
    const enormous = object('RayCluster', tenant, { ...clusterSpec(), workerGroupSpecs })
    const warnings = await send('create', enormous, '--dry-run=server')
    t.match(warnings[0], /\d+ of its pods were not looked at/)
  })

  await t.test('while Rayguard is away nothing waits', async t => {
    await kubectl(['delete', 'rayjob', '--all', '-n', tenant])
    await rayguard.stop()
    for (const [kind, spec] of resources)
      t.strictSame(await send('create', object(kind, tenant, spec), '--dry-run=server'), [], kind)
  })
})

/** Ray resources that were looked at, by kind. */
async function reviewed(rayguard: RunningRayguard): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const line of await rayguard.metrics('rayguard_resource_reviews_total{')) {
    const [, kind = '', count] = /kind="(\w+)".* (\d+)$/.exec(line) ?? []
    counts.set(kind, (counts.get(kind) ?? 0) + Number(count))
  }
  return counts
}
