/** docs/authorities/pkcs11.md, from nothing to a Ray cluster: SoftHSM in an image that is made from ours. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually } from '../support/cluster.ts'
import {
  changesOf,
  checkFirstCluster,
  lackingFor,
  removeInstallation
} from '../support/cluster-authority.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { openReader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'
import { systemNamespace } from '../support/cluster-replicas.ts'

const page = 'authorities/pkcs11.md'
const content = /The settings are right for: enrollment\./

/** There is no Docker here, and no registry: what it builds goes straight to the node. */
const docker = `#!/bin/bash
set -euo pipefail
[ "$1" = build ] || exit 0
${resolve('test/cluster/cluster')} load "$(${resolve('test/cluster/image')} derived "$4" "$3")"
`

part(
  'pkcs11',
  async (t, { api }) => {
    await removeInstallation(api)
    const programs = join(t.testdir({}), 'programs')
    const reader = openReader(t, programs)
    mkdirSync(programs)
    writeFileSync(join(programs, 'docker'), docker)
    chmodSync(join(programs, 'docker'), 0o755)
    const changes = changesOf(reader)
    const told = await reader.follow({ page, heading: 'Set it up from nothing', changes })
    t.equal(
      told.match(new RegExp(content, 'g'))?.length,
      2,
      'check-config is content, here and there'
    )
    await checkFirstCluster(t, api, reader, 'perCluster')

    await t.test('check-config says what an image lacks', async t => {
      const whole = await checkedIn(api, 'whole')
      t.match(whole, content, 'the image of the page lacks nothing')
      const library = await checkedIn(api, 'no-library', ({ containers: [container] }) => {
        if (container) container.image = 'localhost/rayguard:test'
      })
      t.match(library, /authority: The PKCS#11 library .* cannot be loaded/, 'the library')
      const module = await checkedIn(api, 'no-module', ({ containers: [container], volumes }) => {
        const mountPath = '/opt/rayguard/node_modules'
        container?.volumeMounts?.push({ name: 'nothing', mountPath })
        volumes?.push({ name: 'nothing', emptyDir: {} })
      })
      t.match(module, /authority: The optional package pkcs11js is not installed/, 'the way to it')
    })
    await removeInstallation(api)
  },
  lackingFor('softhsm2-util', 'pkcs11-tool')
)

/** What check-config says in a pod like those of the enrollment server. */
async function checkedIn(
  api: ClusterApi,
  name: string,
  change: (spec: Pod['spec']) => void = () => {}
): Promise<string> {
  const { spec } = await api.get<KubernetesObject & { spec: { template: Pod } }>(
    `/apis/apps/v1/namespaces/${systemNamespace}/deployments/rayguard-enrollment`
  )
  const pod = structuredClone(spec.template.spec)
  for (const container of pod.containers) {
    const { startupProbe, livenessProbe, readinessProbe, ...rest } = container as object as Probed
    Object.assign(rest, { args: ['check-config'] })
    pod.containers = [rest as typeof container]
  }
  change(pod)
  const pods = `/api/v1/namespaces/${systemNamespace}/pods`
  await api.create(pods, { metadata: { name }, spec: { ...pod, restartPolicy: 'Never' } })
  await eventually(`check-config has ended in ${name}`, async () => {
    const { status } = await api.get<Pod>(`${pods}/${name}`)
    return status?.phase === 'Succeeded' || status?.phase === 'Failed'
  })
  return kubectl(['-n', systemNamespace, 'logs', name])
}

interface Probed {
  startupProbe: object
  livenessProbe: object
  readinessProbe: object
}
