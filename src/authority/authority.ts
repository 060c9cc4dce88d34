/**
 * Who signs. An authority turns a public key and names that the server built into a certificate.
 *
 * It never decides which names: those come from `identity`. Its answer is checked by the caller all the same.
 */
import type { Chain } from '../x509/chain.ts'
import type { CertificateNames } from '../x509/names.ts'

export interface LeafContent {
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  /** DER, the whole PKCS#10 request, for authorities that forward it. */
  csr: Uint8Array
  names: CertificateNames
  /** What the setting asks for; the authority shortens it to the end of its CA. */
  lifetimeSeconds: number
  /** For a client outside the pods, which has no names. Throws `PodsOnly` where the authority is set up for pods alone. */
  purpose?: 'client' | undefined
}

export interface LeafRequest extends LeafContent {
  /** Whose pod it is, as the Kubernetes API has confirmed; of a client: which it may connect to. */
  rayCluster: RayClusterReference
}

export interface RayClusterReference {
  namespace: string
  name: string
  uid: string
}

export interface IssuedCertificate {
  /** PEM, leaf first; only the leaf where the trust anchor signed it. */
  certificate: string
  /** PEM of the lowest issuing CA, never of one above it. */
  trustAnchors: string
  /** PEM of what the pod is to trust beside it while the CA is being replaced; it has signed nothing here. */
  alsoTrusted?: string
  /** Lower-case hexadecimal. */
  serialNumber: string
  notBefore: Date
  notAfter: Date
}

/** For the CA of one Ray cluster, whose key is ours. */
export interface IntermediateRequest {
  /** DER, SubjectPublicKeyInfo. */
  publicKey: Uint8Array
  /** DER, PKCS#10 by that key: subject, CA:TRUE and path length 0, for authorities that forward it. */
  csr: Uint8Array
  /** The whole subject is this CN and O=Rayguard. */
  commonName: string
  /** DER, Name: that subject, as the former certificate has it where this one renews it. */
  subject: Uint8Array
  /** Of its subjectKeyIdentifier; of a renewal that of the former certificate. */
  keyIdentifier: Uint8Array
  lifetimeSeconds: number
  rayCluster: RayClusterReference
}

export interface IntermediateAuthority {
  /** Why it signs no CA, as far as is known before it is asked (RFC 5280 §4.2.1.9, §4.2.1.10). */
  problem(): string | undefined
  /** PEM of the CAs of which one signs; absent where the authority has looked at the signature itself. */
  issuers?(): string
  /** It cannot set a path length, and leaves it out. */
  readonly leavesOutPathLength?: boolean
  /** PEM of the intermediate alone. Throws {@link AuthorityError}. The caller checks what it gets. */
  issue(request: IntermediateRequest): Promise<string>
  /** Nobody comes again for what was asked; for authorities that keep it until somebody does. */
  withdraw?(request: IntermediateRequest): void
}

/** Seals what is stored outside, by a key that never leaves the authority. */
export interface KeyProtection {
  /** Such as `vault-transit`. */
  kind: string
  /** `context` is bound to the result: it opens under no other. Throws {@link AuthorityError}. */
  seal(plain: Uint8Array, context: string): Promise<Uint8Array>
  open(sealed: Uint8Array, context: string): Promise<Uint8Array>
  /** False for what a former key has sealed, which opens and should be sealed anew. */
  isCurrent?(sealed: Uint8Array): boolean
}

/** One CA that pods trust. */
export interface AnchorDescription {
  subject: string
  /** SHA-256 of the trust anchor's DER, lower-case hexadecimal. */
  anchorSha256: string
  /** SHA-256 of its name, key and key identifier, which outlive a renewal of the certificate. */
  anchorKeySha256: string
  notBefore?: Date
  notAfter: Date
}

/** The CA that signs; `notAfter`: of those above it, too, where a file names them. */
export interface AuthorityDescription extends AnchorDescription {
  kind: string
  /** What pods are told to trust beside it. */
  alsoTrusted?: AnchorDescription[]
}

export interface Authority {
  /** `request`: the CSR must ask for exactly the names, and the pod is told so (409 NamesRequired). */
  readonly namesFrom: 'server' | 'request'
  /** Where that depends on the RayCluster. Throws {@link AuthorityError}. */
  namesFor?(rayCluster: RayClusterReference): Promise<Authority['namesFrom']>
  /** Throws {@link AuthorityError}. */
  issue(request: LeafRequest): Promise<IssuedCertificate>
  describe(): AuthorityDescription
  /** The CA that signs and those above it, as far as they are known. */
  chain?(): Chain
  /** Absent where this kind of authority signs no CAs. */
  readonly intermediates?: IntermediateAuthority | undefined
  /** Absent where the authority holds no key that could seal. */
  readonly protection?: KeyProtection | undefined
  /** Why it cannot be asked at all, if so; for the check of that name. */
  problem?(): string | undefined
  close(): Promise<void>
}

/** What became of a look at the CA's certificates. */
export type ReloadOutcome =
  | LoadedOutcome
  /** What was in use goes on. */
  | { loaded: false; reason: string }

export interface LoadedOutcome {
  loaded: true
  description: AuthorityDescription
  warnings: string[]
}

/**
 * `Unavailable`: again later. `Refused`: the authority says no, until an administrator changes something. `Denied`: a person
 * or a policy has looked at this very request and said no, for good. `Invalid`: the CA cannot be used as it is. `Exhausted`:
 * too much was asked for in a short time, or at one time. `TooEarly`: the RayCluster has no head (yet). `PodsOnly`: it signs
 * for no client outside the pods.
 */
export type AuthorityErrorCode =
  | 'Unavailable'
  | 'Refused'
  | 'Denied'
  | 'Invalid'
  | 'Exhausted'
  | 'TooEarly'
  | 'PodsOnly'

export class AuthorityError extends Error {
  readonly code: AuthorityErrorCode
  /** The authority has signed, and what it answered is of no use: it counts as what was handed out does. */
  readonly made: boolean

  constructor(
    code: AuthorityErrorCode,
    message: string,
    { made = false, ...options }: ErrorOptions & { made?: boolean } = {}
  ) {
    super(message, options)
    this.name = 'AuthorityError'
    this.code = code
    this.made = made
  }
}
