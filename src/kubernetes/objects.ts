/**
 * The parts of Kubernetes' objects that Rayguard reads, as they are on the wire.
 *
 * Types only, and the one file of this room that every other room may import: it is vocabulary, not behaviour.
 * Wire spelling is kept. An optional list, map or object may also be `null`, because clients may send that
 * (https://kubernetes.io/docs/reference/kubernetes-api/).
 */
import type { UserInfo } from './reviews.ts'

export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean | null
  blockOwnerDeletion?: boolean | null
}

export interface ObjectMeta {
  name?: string
  generateName?: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  creationTimestamp?: string | null
  deletionTimestamp?: string | null
  labels?: Record<string, string> | null
  annotations?: Record<string, string> | null
  ownerReferences?: OwnerReference[] | null
}

export interface KubernetesObject {
  apiVersion?: string
  kind?: string
  metadata: ObjectMeta
}

export interface EnvVar {
  name: string
  value?: string | null
  valueFrom?: {
    fieldRef?: { apiVersion?: string; fieldPath: string } | null
    resourceFieldRef?: object | null
    configMapKeyRef?: object | null
    secretKeyRef?: object | null
  } | null
}

export interface VolumeMount {
  name: string
  mountPath: string
  readOnly?: boolean | null
  recursiveReadOnly?: string | null
  subPath?: string | null
  subPathExpr?: string | null
  mountPropagation?: string | null
}

export interface Capabilities {
  add?: string[] | null
  drop?: string[] | null
}

export interface SeccompProfile {
  type: string
  localhostProfile?: string | null
}

export interface AppArmorProfile {
  type: string
  localhostProfile?: string | null
}

export interface SELinuxOptions {
  type?: string | null
  user?: string | null
  role?: string | null
  level?: string | null
}

export interface WindowsOptions {
  hostProcess?: boolean | null
}

/** What a probe or a lifecycle hook does; a host is the one part that Pod Security looks at. */
export interface Handler {
  exec?: { command?: string[] | null } | null
  httpGet?: { host?: string | null } | null
  tcpSocket?: { host?: string | null } | null
  [setting: string]: unknown
}

export interface SecurityContext {
  runAsUser?: number | null
  runAsGroup?: number | null
  runAsNonRoot?: boolean | null
  privileged?: boolean | null
  allowPrivilegeEscalation?: boolean | null
  readOnlyRootFilesystem?: boolean | null
  capabilities?: Capabilities | null
  seccompProfile?: SeccompProfile | null
  procMount?: string | null
  appArmorProfile?: AppArmorProfile | null
  seLinuxOptions?: SELinuxOptions | null
  windowsOptions?: WindowsOptions | null
}

export interface PodSecurityContext {
  runAsUser?: number | null
  runAsGroup?: number | null
  runAsNonRoot?: boolean | null
  fsGroup?: number | null
  fsGroupChangePolicy?: string | null
  supplementalGroups?: number[] | null
  supplementalGroupsPolicy?: string | null
  seccompProfile?: SeccompProfile | null
  appArmorProfile?: AppArmorProfile | null
  seLinuxOptions?: SELinuxOptions | null
  windowsOptions?: WindowsOptions | null
  sysctls?: { name: string; value?: string }[] | null
}

export interface ResourceRequirements {
  limits?: Record<string, string> | null
  requests?: Record<string, string> | null
}

export interface Container {
  name: string
  image?: string
  imagePullPolicy?: string
  command?: string[] | null
  args?: string[] | null
  workingDir?: string
  env?: EnvVar[] | null
  envFrom?: object[] | null
  ports?: { containerPort?: number; hostPort?: number | null }[] | null
  resources?: ResourceRequirements | null
  volumeMounts?: VolumeMount[] | null
  volumeDevices?: object[] | null
  livenessProbe?: Handler | null
  readinessProbe?: Handler | null
  startupProbe?: Handler | null
  lifecycle?: { postStart?: Handler | null; preStop?: Handler | null } | null
  securityContext?: SecurityContext | null
  restartPolicy?: string
  terminationMessagePath?: string
  terminationMessagePolicy?: string
}

export interface VolumeProjection {
  serviceAccountToken?: {
    audience?: string
    expirationSeconds?: number | null
    path: string
  } | null
  configMap?: object | null
  downwardAPI?: object | null
  secret?: object | null
  clusterTrustBundle?: object | null
}

/** Exactly one source is set; a volume without a source becomes an `emptyDir` in the API server. */
export interface Volume {
  name: string
  emptyDir?: { medium?: string; sizeLimit?: string | null } | null
  projected?: { sources?: VolumeProjection[] | null; defaultMode?: number | null } | null
  secret?: { secretName?: string; optional?: boolean | null; defaultMode?: number | null } | null
  [source: string]: unknown
}

export interface PodSpec {
  containers: Container[]
  initContainers?: Container[] | null
  ephemeralContainers?: (Container & { targetContainerName?: string })[] | null
  volumes?: Volume[] | null
  securityContext?: PodSecurityContext | null
  imagePullSecrets?: { name?: string }[] | null
  serviceAccountName?: string
  automountServiceAccountToken?: boolean | null
  nodeName?: string
  hostname?: string
  subdomain?: string
  hostNetwork?: boolean | null
  hostPID?: boolean | null
  hostIPC?: boolean | null
  hostUsers?: boolean | null
  shareProcessNamespace?: boolean | null
  restartPolicy?: string
  nodeSelector?: Record<string, string> | null
  os?: { name: string } | null
}

export interface ContainerStatus {
  name: string
  image?: string
  restartCount?: number
  state?: {
    waiting?: { reason?: string; message?: string } | null
    running?: { startedAt?: string | null } | null
    terminated?: { exitCode: number; reason?: string; message?: string } | null
  } | null
  lastState?: {
    terminated?: { exitCode: number; reason?: string; message?: string } | null
  } | null
}

export interface PodStatus {
  phase?: string
  podIP?: string
  podIPs?: { ip: string }[] | null
  conditions?: { type: string; status: string }[] | null
  initContainerStatuses?: ContainerStatus[] | null
  containerStatuses?: ContainerStatus[] | null
}

export interface Pod extends KubernetesObject {
  spec: PodSpec
  status?: PodStatus | null
}

export interface RayCluster extends KubernetesObject {
  spec?: {
    headGroupSpec?: { headService?: { metadata?: ObjectMeta | null } | null } | null
  } | null
  status?: {
    head?: { podName?: string; podIP?: string; serviceName?: string; serviceIP?: string } | null
  } | null
}

export interface Service extends KubernetesObject {
  spec?: { clusterIP?: string; selector?: Record<string, string> | null } | null
}

/** `data`: base64. */
export interface Secret extends KubernetesObject {
  type?: string
  data?: Record<string, string> | null
}

export interface ConfigMap extends KubernetesObject {
  data?: Record<string, string> | null
}

/** A MutatingWebhookConfiguration or a ValidatingWebhookConfiguration. `caBundle`: base64 of PEM. */
export interface WebhookConfiguration extends KubernetesObject {
  webhooks?: WebhookEntry[] | null
}

export interface WebhookEntry {
  name: string
  clientConfig?: {
    caBundle?: string | null
    url?: string | null
    service?: { name: string; namespace: string; path?: string; port?: number } | null
  } | null
  failurePolicy?: string
  namespaceSelector?: LabelSelector | null
}

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/ */
export interface LabelSelector {
  matchLabels?: Record<string, string> | null
  matchExpressions?: { key: string; operator: string; values?: string[] | null }[] | null
}

export interface Namespace extends KubernetesObject {}

/** The API server writes the four fields about the user, and nobody can change them. */
export interface CertificateSigningRequest extends KubernetesObject {
  spec: UserInfo & {
    /** Base64 of PEM. */
    request?: string
    signerName?: string
    expirationSeconds?: number | null
    usages?: string[] | null
  }
  status?: {
    conditions?: RequestCondition[] | null
    /** Base64 of PEM. */
    certificate?: string | null
  } | null
}

export interface RequestCondition {
  type: string
  status: string
  reason?: string
  message?: string
  lastUpdateTime?: string | null
  lastTransitionTime?: string | null
}
