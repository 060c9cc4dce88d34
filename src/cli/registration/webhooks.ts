/**
 * The registration of the webhook, as the manifests have it. Pure; a test holds it against `manifests/rayguard.yaml`.
 *
 * Without a caBundle: the webhook or cert-manager writes that one field, and keeps it.
 */
import { pausedLabel } from '../../contract/pod.ts'

export interface RegistrationOptions {
  /** Where Rayguard runs; always left out, with kube-system. */
  namespace: string
  /** Further namespaces to leave out. */
  excluded?: readonly string[]
  /** This one namespace and no other. */
  canary?: string
  /** cert-manager writes the caBundle, from the certificate that the chart asks it for. */
  certManager?: boolean
}

export const registrationApiVersion = 'admissionregistration.k8s.io/v1'

/** What the API server calls Rayguard for; a whole object for server-side apply. */
export function mutatingRegistration(options: RegistrationOptions): object {
  return {
    apiVersion: registrationApiVersion,
    kind: 'MutatingWebhookConfiguration',
    metadata: {
      name: 'rayguard',
      labels: { 'app.kubernetes.io/name': 'rayguard', 'app.kubernetes.io/part-of': 'rayguard' },
      // https://cert-manager.io/docs/concepts/ca-injector/
      ...(options.certManager
        ? {
            annotations: {
              'cert-manager.io/inject-ca-from': `${options.namespace}/rayguard-webhook`
            }
          }
        : {})
    },
    webhooks: [
      {
        name: 'pods.rayguard.dev',
        ...common(options),
        objectSelector: { matchExpressions: [{ key: 'ray.io/cluster', operator: 'Exists' }] },
        matchConditions: [isNoMirrorPod]
      },
      {
        // KubeRay before 1.7 puts no label of its own on the pods that submit a RayJob; their variable tells them.
        name: 'submitters.rayguard.dev',
        ...common(options),
        objectSelector: {
          matchExpressions: [
            { key: 'ray.io/cluster', operator: 'DoesNotExist' },
            { key: 'batch.kubernetes.io/job-name', operator: 'Exists' }
          ]
        },
        matchConditions: [isNoMirrorPod, submitsARayJob]
      }
    ]
  }
}

/** What the registration covers: all namespaces but some, or one, and none that is paused. */
export function namespaceSelector({ namespace, excluded = [], canary }: RegistrationOptions) {
  const key = 'kubernetes.io/metadata.name'
  const where =
    canary === undefined
      ? { key, operator: 'NotIn', values: [namespace, 'kube-system', ...excluded] }
      : { key, operator: 'In', values: [canary] }
  return { matchExpressions: [where, { key: pausedLabel, operator: 'DoesNotExist' }] }
}

function common(options: RegistrationOptions): object {
  const { namespace } = options
  return {
    admissionReviewVersions: ['v1'],
    clientConfig: {
      service: { name: 'rayguard-webhook', namespace, path: '/mutate', port: 443 }
    },
    rules: [
      rule('CREATE', 'pods'),
      // Ephemeral containers come through a subresource of their own.
      rule('UPDATE', 'pods/ephemeralcontainers')
    ],
    namespaceSelector: namespaceSelector(options),
    failurePolicy: 'Fail',
    matchPolicy: 'Equivalent',
    reinvocationPolicy: 'IfNeeded',
    sideEffects: 'None',
    timeoutSeconds: 5
  }
}

function rule(operation: string, resource: string): object {
  return {
    apiGroups: [''],
    apiVersions: ['v1'],
    operations: [operation],
    resources: [resource],
    scope: 'Namespaced'
  }
}

/** The annotation alone would be a way out, so a kubelet has to be the author. */
const isNoMirrorPod = {
  name: 'is-no-mirror-pod',
  expression:
    "!(has(object.metadata.annotations) && 'kubernetes.io/config.mirror' in object.metadata.annotations " +
    "&& 'system:nodes' in request.userInfo.groups)"
}

const submitsARayJob = {
  name: 'submits-a-ray-job',
  expression:
    'object.spec.containers.exists(container, has(container.env) && ' +
    "container.env.exists(variable, variable.name == 'RAY_JOB_SUBMISSION_ID'))"
}
