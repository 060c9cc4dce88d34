/**
 * What the administrator chose for the injected parts, and what a request asks for.
 */
import type { KeyAlgorithm, PodSecurityMode, TlsMode } from '../contract/pod.ts'
import type { Pod } from '../kubernetes/objects.ts'
import type { KnownImage } from '../pod-security/known-images.ts'

export interface InjectionSettings {
  image: string
  /** Images of earlier versions, which a pod may still carry when it is seen again. */
  formerImages: readonly string[]
  /** Names under which a registry mirror shows the image; another webhook may have written them into the pod. */
  imageMirrors?: readonly string[]
  imagePullPolicy: string
  imagePullSecrets: readonly string[]
  /** Where pods reach the enrollment server. */
  serverUrl: string
  /** PEM; public. */
  serverCa: string
  keyAlgorithm: KeyAlgorithm
  /** The group that may read the key where the pod offers no better one. */
  keyGroup: number
  /** Quantities; requests and limits alike. */
  resources: { cpu: string; memory: string }
  /** User of the agent where the Ray containers name none. */
  user: number
  /** Images whose user an administrator knows. */
  knownImages?: readonly KnownImage[]
  /** Of the projected token; the enrollment server's setting. */
  tokenAudience?: string
}

export interface InjectionRequest {
  /** The request's: the pod's own may be empty at admission. */
  namespace: string
  podSecurity: PodSecurityMode
  tls: TlsMode
  /** What the live pods of the pod's RayCluster have; absent where none lives. */
  clusterTls?: 'rayguard' | 'none'
  subresource?: 'ephemeralcontainers'
  /** With a subresource: the pod as it runs. */
  oldPod?: Pod
  /** True when a kubelet asks. Only then is a mirror pod one: anybody may write the annotation. */
  fromKubelet?: boolean
}
