/**
 * What the status of a CertificateSigningRequest means
 * (https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/).
 */
import type { CertificateSigningRequest } from '../../kubernetes/objects.ts'
import { type Progress, shortText } from '../request-progress.ts'

export function progressOf({ status }: CertificateSigningRequest): Progress {
  const conditions = status?.conditions ?? []
  const found = (type: string) => conditions.find(condition => condition.type === type)
  // Denied and Failed are final; the API server takes no certificate into a denied request.
  const no = found('Denied') ?? found('Failed')
  if (no !== undefined) {
    const reason = shortText(no.type, no.reason, no.message)
    return { state: 'refused', failed: no.type === 'Failed', reason }
  }
  if (status?.certificate) {
    return { state: 'issued', certificate: Buffer.from(status.certificate, 'base64').toString() }
  }
  return found('Approved') === undefined
    ? { state: 'pending', approved: false, reason: 'nobody has approved it' }
    : { state: 'pending', approved: true, reason: 'it is approved and the signer has not signed' }
}

export function changesOf({ status }: CertificateSigningRequest): (string | null | undefined)[] {
  return (status?.conditions ?? []).flatMap(condition => [
    condition.lastUpdateTime,
    condition.lastTransitionTime
  ])
}
