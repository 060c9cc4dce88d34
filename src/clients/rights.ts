import { clientSigner } from '../contract/client-certificates.ts'
import type { Right } from '../kubernetes/rights.ts'

const group = 'certificates.k8s.io'
const requests = { group, resource: 'certificatesigningrequests' }
const signer = { group, resource: 'signers', name: clientSigner }

/** Of Rayguard's service account, for client certificates alone. */
export const clientSignerRights: readonly Right[] = [
  ...['get', 'list', 'watch'].map(verb => ({ verb, ...requests })),
  ...['approval', 'status'].map(subresource => ({ verb: 'update', ...requests, subresource })),
  ...['approve', 'sign'].map(verb => ({ verb, ...signer })),
  { verb: 'create', group: 'authorization.k8s.io', resource: 'subjectaccessreviews' }
]
