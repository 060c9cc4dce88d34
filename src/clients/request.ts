/** What a CertificateSigningRequest for a client certificate asks for, read as a stranger's. Pure. */
import {
  type ClientRefusalCode,
  clientRefusals,
  clientUsages,
  rayClusterAnnotation
} from '../contract/client-certificates.ts'
import type { CertificateSigningRequest } from '../kubernetes/objects.ts'
import type { UserInfo } from '../kubernetes/reviews.ts'
import { type AllowedRequest, readCertificateRequest } from '../x509/csr.ts'

export interface ClientRequest {
  allowed: true
  /** As the API server has written it. */
  user: UserInfo & { username: string }
  namespace: string
  rayCluster: string
  csr: AllowedRequest
  /** What the user asks for, if anything. */
  lifetimeSeconds: number | undefined
}

export interface ClientRefusal {
  allowed: false
  code: ClientRefusalCode
  /** For the user who asked. */
  text: string
}

export function refuseClient(code: ClientRefusalCode, detail = ''): ClientRefusal {
  return { allowed: false, code, text: [clientRefusals[code], detail].join(' ').trim() }
}

/** Names of objects as KubeRay and RBAC take them; a namespace has no dots. */
const reference =
  /^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\/([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)$/

/**
 * The RayCluster stands in an annotation, which others may change: whoever does can at most lead the user to another
 * RayCluster that the user has the right to. Everything else is fixed when the request is made.
 */
export function readClientRequest({
  metadata,
  spec
}: CertificateSigningRequest): ClientRequest | ClientRefusal {
  const { username, uid, groups, extra } = spec
  const [, namespace, rayCluster] =
    reference.exec(metadata.annotations?.[rayClusterAnnotation] ?? '') ?? []
  if (!username || namespace === undefined || rayCluster === undefined)
    return refuseClient('BadRequest')
  if (!usagesFit(spec.usages ?? [])) return refuseClient('UsageNotAllowed')
  const csr = readCertificateRequest(Buffer.from(spec.request ?? '', 'base64').toString('latin1'))
  if (!csr.allowed) return refuseClient(csr.code, csr.reason)
  // Attack: names of a server, or of another user, in a certificate that is trusted by others as well.
  if (csr.names !== undefined) return refuseClient('CsrUnexpected', 'It asks for names.')
  return {
    allowed: true,
    user: { username, ...(uid ? { uid } : {}), groups: groups ?? [], extra: extra ?? {} },
    ...{ namespace, rayCluster, csr },
    lifetimeSeconds: spec.expirationSeconds ?? undefined
  }
}

function usagesFit(usages: readonly string[]): boolean {
  const known: readonly string[] = clientUsages
  return usages.includes(clientUsages[0]) && usages.every(usage => known.includes(usage))
}
