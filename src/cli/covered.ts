/**
 * Which namespaces the registration of Rayguard covers, read from its own selectors. Pure.
 */
import { pausedLabel } from '../contract/pod.ts'
import type { LabelSelector, Namespace, WebhookConfiguration } from '../kubernetes/objects.ts'
import { own } from '../ray/classify.ts'

const group = '/apis/admissionregistration.k8s.io/v1'
/** What asks Rayguard about pods. */
export const registrationPath = `${group}/mutatingwebhookconfigurations/rayguard`
/** What asks Rayguard about Ray resources, to warn whoever applies them. */
export const warningsPath = `${group}/validatingwebhookconfigurations/rayguard`

export function isPaused({ metadata }: Namespace): boolean {
  return own(metadata.labels ?? {}, pausedLabel) !== undefined
}

/** Paused or not: a namespace that some entry selects but for that label. */
export function isCovered(namespace: Namespace, registration: WebhookConfiguration): boolean {
  const { [pausedLabel]: _, ...labels } = namespace.metadata.labels ?? {}
  // The API server sets it, and nobody can change it.
  const whole = { ...labels, 'kubernetes.io/metadata.name': namespace.metadata.name ?? '' }
  return (registration.webhooks ?? []).some(({ namespaceSelector }) =>
    selects(namespaceSelector ?? {}, whole)
  )
}

/** https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors */
export function selects(
  { matchLabels, matchExpressions }: LabelSelector,
  labels: Readonly<Record<string, string>>
): boolean {
  const equal = Object.entries(matchLabels ?? {}).every(
    ([key, value]) => own(labels, key) === value
  )
  return (
    equal &&
    (matchExpressions ?? []).every(({ key, operator, values }) => {
      const found = own(labels, key)
      const listed = found !== undefined && (values ?? []).includes(found)
      switch (operator) {
        case 'In':
          return listed
        case 'NotIn':
          return !listed
        case 'Exists':
          return found !== undefined
        case 'DoesNotExist':
          return found === undefined
        default:
          return false
      }
    })
  )
}
