/** docs/authorities/kubernetes-csr.md, from nothing to a Ray cluster: the signers as the page has them, by kubectl and openssl. */
import type { CertificateSigningRequest } from '../../src/kubernetes/objects.ts'
import { eventually } from '../support/cluster.ts'
import {
  changesOf,
  checkFirstCluster,
  lackingFor,
  removeInstallation
} from '../support/cluster-authority.ts'
import { openReader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'

const page = 'authorities/kubernetes-csr.md'
const requests = '/apis/certificates.k8s.io/v1/certificatesigningrequests'

part(
  'kubernetes-csr',
  async (t, { api }) => {
    await removeInstallation(api)
    const reader = openReader(t)
    await reader.follow({ page, heading: 'Rayguard', changes: changesOf(reader) })
    reader.begin({ page, heading: 'The signers' })
    await checkFirstCluster(t, api, reader, 'perCluster')
    await t.test('every request is taken away', async t => {
      await eventually('none is left', async () => {
        const left = await api.list<CertificateSigningRequest>(requests)
        return left.every(({ spec }) => !/^example.com\/ray-/.test(spec.signerName ?? ''))
      })
      t.pass('none is left')
    })
    await removeInstallation(api)
  },
  lackingFor()
)
