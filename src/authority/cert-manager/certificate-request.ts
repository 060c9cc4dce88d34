/**
 * The parts of cert-manager's CertificateRequest that are used, and what its status means
 * (https://cert-manager.io/docs/usage/certificaterequest/).
 */
import type { KubernetesObject } from '../../kubernetes/objects.ts'
import { type Progress, shortText } from '../request-progress.ts'

export interface IssuerReference {
  name: string
  kind: string
  group: string
}

export interface CertificateRequest extends KubernetesObject {
  spec: {
    /** Base64 of PEM. */
    request?: string
    issuerRef?: Partial<IssuerReference> | null
    /** As Go writes durations, which is not always as they were sent. */
    duration?: string | null
    usages?: string[] | null
    isCA?: boolean | null
  }
  status?: {
    conditions?: Condition[] | null
    /** Base64 of PEM. */
    certificate?: string | null
    ca?: string | null
    failureTime?: string | null
  } | null
}

interface Condition {
  type: string
  status: string
  reason?: string
  message?: string
  lastTransitionTime?: string | null
}

export function progressOf({ status }: CertificateRequest): Progress {
  const conditions = status?.conditions ?? []
  const found = (type: string) => conditions.find(condition => condition.type === type)
  const isTrue = (type: string) => found(type)?.status === 'True'
  const ready = found('Ready')
  const no =
    (isTrue('Denied') && found('Denied')) ||
    (isTrue('InvalidRequest') && found('InvalidRequest')) ||
    ((ready?.reason === 'Failed' || ready?.reason === 'Denied') && ready)
  if (no) {
    const failed = no === ready && ready.reason === 'Failed'
    return { state: 'refused', failed, reason: shortText(no.type, no.reason, no.message) }
  }
  if (ready?.status === 'True' && status?.certificate) {
    return { state: 'issued', certificate: text(status.certificate), authority: text(status.ca) }
  }
  const why = ready === undefined ? 'cert-manager has not looked at it' : ready.message
  return { state: 'pending', approved: isTrue('Approved'), reason: shortText(ready?.reason, why) }
}

export function changesOf({ status }: CertificateRequest): (string | null | undefined)[] {
  const times = (status?.conditions ?? []).map(({ lastTransitionTime }) => lastTransitionTime)
  return [...times, status?.failureTime]
}

const unitSeconds: Record<string, number> = { h: 3600, m: 60, s: 1 }

/** Of `2160h0m0s`, in whole units as the API server keeps them; `undefined` for anything else. */
export function durationSeconds(text: string | null | undefined): number | undefined {
  if (!/^(\d{1,9}[hms])+$/.test(text ?? '')) return undefined
  const parts = (text ?? '').matchAll(/(\d+)([hms])/g)
  return [...parts].reduce(
    (sum, [, count, unit = '']) => sum + Number(count) * (unitSeconds[unit] ?? 0),
    0
  )
}

function text(base64: string | null | undefined): string {
  return Buffer.from(base64 ?? '', 'base64').toString()
}
