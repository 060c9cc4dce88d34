/** docs/authorities/kubernetes-csr.md, from nothing to a Ray cluster: a signer as the page has it, by kubectl and openssl. */
import type { CertificateSigningRequest } from '../../src/authority/kubernetes-csr/signing-request.ts'
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
    reader.begin({ page, heading: 'A signer' })
    await checkFirstCluster(t, api, reader, 'shared')
    await t.test('every request is taken away', async t => {
      await eventually('none is left', async () => {
        const left = await api.list<CertificateSigningRequest>(requests)
        return left.every(({ spec }) => spec.signerName !== 'example.com/ray-pods')
      })
      t.pass('none is left')
    })
    await removeInstallation(api)
  },
  lackingFor()
)
