/** docs/authorities/vault.md, from nothing to a Ray cluster: a real Vault beside the node, and the login with a pod's identity. */
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import {
  changesOf,
  checkFirstCluster,
  lackingFor,
  removeInstallation
} from '../support/cluster-authority.ts'
import { openReader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'
import { systemNamespace } from '../support/cluster-replicas.ts'

const page = 'authorities/vault.md'

part(
  'vault',
  async (t, { api }) => {
    await removeInstallation(api)
    const reader = openReader(t)
    // the node has the address at which its API server listens, and pods reach it there
    const address = new URL(api.server).hostname
    const changes = { ...changesOf(reader), '192.0.2.10': address }
    const told = await reader.follow({ page, heading: 'Set it up from nothing', changes })
    t.match(told, /The settings are right for: enrollment\./, 'check-config in the pod says so')
    await checkFirstCluster(t, api, reader, 'perCluster')

    await t.test('a stolen Secret is worth nothing without Vault', async t => {
      const secrets = await api.list<KubernetesObject & { data?: Record<string, string> }>(
        `/api/v1/namespaces/${systemNamespace}/secrets`
      )
      const kept = secrets
        .filter(({ metadata }) => /^rayguard-clusters-/.test(metadata.name ?? ''))
        .flatMap(({ data }) => Object.values(data ?? {}))
        .map(value => Buffer.from(value, 'base64').toString())
      t.ok(kept.length > 0, 'the CA of the RayCluster is there')
      t.notMatch(kept.join(), /"plain"/, 'its key is not')
      t.match(kept.join(), /"sealedBy"/, 'but sealed by the transit key')
    })
    await removeInstallation(api)
    await api.delete('/api/v1/namespaces/vault-login')
    await api.delete('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/vault-login')
  },
  lackingFor('vault')
)
