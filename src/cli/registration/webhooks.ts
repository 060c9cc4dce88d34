/**
 * The registrations of the webhook, as the manifests have them. Pure; a test holds them against `manifests/rayguard.yaml`.
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

/** What the API server asks Rayguard about pods; a whole object for server-side apply. */
export function mutatingRegistration(options: RegistrationOptions): object {
  return {
    ...header('MutatingWebhookConfiguration', options),
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

/** What it asks Rayguard about Ray resources, to warn whoever applies them; refuses nothing. */
export function validatingRegistration(options: RegistrationOptions): object {
  return {
    ...header('ValidatingWebhookConfiguration', options),
    webhooks: [
      {
        name: 'resources.rayguard.dev',
        ...answeredAt('/validate', options),
        rules: [
          {
            apiGroups: ['ray.io'],
            apiVersions: ['v1', 'v1alpha1'],
            operations: ['CREATE', 'UPDATE'],
            resources: ['rayclusters', 'rayjobs', 'rayservices', 'raycronjobs'],
            scope: 'Namespaced'
          }
        ],
        matchConditions: [isNotMadeByKubeRay, changesTheSpec],
        failurePolicy: 'Ignore',
        // Whoever applies waits as long while the webhook hangs.
        timeoutSeconds: 2
      }
    ]
  }
}

function header(kind: string, { namespace, certManager }: RegistrationOptions): object {
  return {
    apiVersion: registrationApiVersion,
    kind,
    metadata: {
      name: 'rayguard',
      labels: { 'app.kubernetes.io/name': 'rayguard', 'app.kubernetes.io/part-of': 'rayguard' },
      // https://cert-manager.io/docs/concepts/ca-injector/
      ...(certManager
        ? { annotations: { 'cert-manager.io/inject-ca-from': `${namespace}/rayguard-webhook` } }
        : {})
    }
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
  return {
    ...answeredAt('/mutate', options),
    rules: [
      rule('CREATE', 'pods'),
      // Ephemeral containers come through a subresource of their own.
      rule('UPDATE', 'pods/ephemeralcontainers')
    ],
    failurePolicy: 'Fail',
    reinvocationPolicy: 'IfNeeded',
    timeoutSeconds: 5
  }
}

function answeredAt(path: string, options: RegistrationOptions): object {
  const { namespace } = options
  return {
    admissionReviewVersions: ['v1'],
    clientConfig: { service: { name: 'rayguard-webhook', namespace, path, port: 443 } },
    namespaceSelector: namespaceSelector(options),
    matchPolicy: 'Equivalent',
    sideEffects: 'None'
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

/** Whoever applied the RayJob or RayService was told; KubeRay can mend nothing, and need not wait. */
const isNotMadeByKubeRay = {
  name: 'is-not-made-by-kuberay',
  expression:
    '!(has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(owner, ' +
    "has(owner.controller) && owner.controller && owner.apiVersion.startsWith('ray.io/')))"
}

const changesTheSpec = {
  name: 'changes-the-spec',
  expression: "request.operation == 'CREATE' || object.spec != oldObject.spec"
}
