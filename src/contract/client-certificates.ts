/**
 * What `rayguard client-cert` and the signer of client certificates must agree on: the request is a CertificateSigningRequest,
 * so that the API server vouches for the user, and no token ever reaches Rayguard.
 */

export const clientSigner = 'rayguard.dev/ray-client'

/** On the request: `NAMESPACE/NAME` of the RayCluster that it is for. */
export const rayClusterAnnotation = 'rayguard.dev/ray-cluster'

/** What a user must be allowed to do (RBAC) with the RayCluster. */
export const clientRight = {
  verb: 'create',
  group: 'ray.io',
  resource: 'rayclusters',
  subresource: 'clientcertificates'
} as const

/** Of the request: the first must be there, the others may. */
export const clientUsages = ['client auth', 'digital signature', 'key encipherment'] as const

/** Texts for the user who asked; they tell nothing of a cluster that the user may not know of. */
export const clientRefusals = {
  BadRequest: `The annotation ${rayClusterAnnotation} must be NAMESPACE/NAME of a RayCluster.`,
  UsageNotAllowed: `The usages must be "${clientUsages[0]}" and, at most, "${clientUsages[1]}" and "${clientUsages[2]}".`,
  CsrMalformed: 'The request is not one well-formed PKCS#10 request in PEM.',
  CsrSignature: 'The request is not signed by the key that it is for.',
  CsrUnexpected: 'The request must ask for nothing: no subject, no names, no extensions.',
  KeyNotAllowed: 'The key must be P-256, P-384 or RSA of 2048 to 4096 bits.',
  KeyReused: 'This key has been shown before; make a new one for each request.',
  QuotaExceeded: 'You have asked too often within an hour.',
  Forbidden: `You may not ${clientRight.verb} ${clientRight.resource}/${clientRight.subresource} (${clientRight.group}) of this RayCluster.`,
  RayClusterNotFound: 'There is no such RayCluster.',
  AuthorityDenied: 'Whoever looks at requests of the authority has said no.',
  PodsOnly:
    'What signs for this RayCluster signs for pods alone. It gets a CA of its own, which signs for clients too, when all of its pods have been deleted at once; ask again then.'
} as const

export type ClientRefusalCode = keyof typeof clientRefusals
