/** docs/authorities/cert-manager.md, from nothing to a Ray cluster: the real cert-manager and an issuer with a CA. */
import { execFileSync } from 'node:child_process'
import {
  changesOf,
  checkFirstCluster,
  lackingFor,
  rayguard,
  removeInstallation
} from '../support/cluster-authority.ts'
import { openReader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'

const page = 'authorities/cert-manager.md'

part(
  'cert-manager',
  async (t, { api }) => {
    const cluster = (...argumentsList: string[]) =>
      execFileSync('test/cluster/cluster', argumentsList, { stdio: 'pipe' })
    await removeInstallation(api)
    cluster('cert-manager')
    t.teardown(() => {
      for (const name of ['cert-manager', 'cert-manager-cainjector']) cluster('kill', name)
    })
    const reader = openReader(t)
    const heading = 'Try it from nothing'
    await reader.follow({ page, heading, changes: changesOf(reader) })
    await checkFirstCluster(t, api, reader, 'perCluster')
    await t.test('nothing is left of the requests, and the CA is pinned', async t => {
      const requests = '/apis/cert-manager.io/v1/namespaces/rayguard-system/certificaterequests'
      const left = (await api.list(requests)).filter(({ metadata }) =>
        metadata.name?.startsWith('rayguard-')
      )
      t.strictSame(left, [])
      t.match(await rayguard('status', '-o', 'json'), { ok: true })
    })
    await removeInstallation(api)
  },
  lackingFor('cert-manager-controller', 'cert-manager-cainjector')
)
