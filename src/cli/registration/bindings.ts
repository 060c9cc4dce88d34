/**
 * What binds the lock-down policies to namespaces, as the manifests have it. Pure; a test holds it against
 * `manifests/rayguard.yaml`.
 *
 * The same namespaces as the webhook's: where it is not asked, the policies would refuse every Ray pod.
 */
import { tlsLabel } from '../../contract/pod.ts'
import { namespaceSelector, type RegistrationOptions, registrationApiVersion } from './webhooks.ts'

/** Names of the policies and of their bindings. */
export const lockDownPolicies = [
  'rayguard-pods',
  'rayguard-authors',
  'rayguard-identity',
  'rayguard-ephemeral-containers',
  'rayguard-exec'
] as const
export type LockDownPolicy = (typeof lockDownPolicies)[number]

/** The other policies keep Rayguard's own accounts to what is theirs, and block no pod. */
export function isLockDownPolicy(name: string): name is LockDownPolicy {
  return (lockDownPolicies as readonly string[]).includes(name)
}

/** A whole object for server-side apply. */
export function policyBinding(name: LockDownPolicy, options: RegistrationOptions): object {
  return {
    apiVersion: registrationApiVersion,
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata: {
      name,
      labels: { 'app.kubernetes.io/name': 'rayguard', 'app.kubernetes.io/part-of': 'rayguard' }
    },
    spec: {
      policyName: name,
      validationActions: ['Deny'],
      matchResources: {
        namespaceSelector: {
          matchLabels: { [tlsLabel]: 'required' },
          ...namespaceSelector(options)
        }
      }
    }
  }
}
