/**
 * What a replica says of itself at `GET /status` of its ops listener, and `rayguard status` reads through the API server.
 *
 * Public: names, ends and certificates, never a key.
 */
export interface ReplicaStatus {
  version: string
  components: string[]
  /** Requests may come. A check that is not `ok` beside it keeps none away. */
  ready: boolean
  /** `ok`, or what is missing. */
  checks: Record<string, string>
  /** RFC 3339; the clock of the replica. */
  now: string
  /** PEM, leaf first, of each listener. */
  servingCertificates: Record<string, string>
  /** RFC 3339 by name: the listeners' own, and `authority`. */
  certificateExpiries: Record<string, string>
  /** Of the enrollment component alone: who signs pods. */
  authority?: AuthorityStatus
  /** Of the enrollment component alone. `problem`: why it answers no requests for them now. */
  clientCertificates?: { enabled: boolean; problem?: string }
}

export interface AnchorStatus {
  subject: string
  /** Of its DER, lower-case hexadecimal. */
  anchorSha256: string
  /** The same for each certificate of this CA with this key. Replicas from before there was one do not say it. */
  anchorKeySha256?: string
  /** RFC 3339. */
  notBefore?: string
  /** RFC 3339. */
  notAfter: string
}

/** `notAfter`: of those above it, too, where a file names them. */
export interface AuthorityStatus extends AnchorStatus {
  kind: string
  /** What pods are told to trust beside it. */
  alsoTrusted: AnchorStatus[]
  /** Whose CA it is that pods trust. Replicas from before there was a choice do not say it. */
  trust?: TrustStatus
}

export interface TrustStatus {
  setting: 'perCluster' | 'shared'
  /** RayClusters that a change of the setting has not reached yet. */
  waiting: number
  /**
   * CAs of RayClusters that wait for something, as of the last round through all of them; absent while there was no whole one.
   * Replicas from before this was counted do not say it.
   */
  due?: DueCasStatus
}

export interface DueCasStatus {
  /** Not sealed, although the authority seals. */
  unsealed: number
  /** Sealed by another key than the one that seals now. */
  formerSeal: number
  /** They should have been renewed. */
  renewal: number
}
