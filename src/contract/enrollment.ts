/**
 * What `POST /v1/certificates` takes and answers, and the codes of its refusals.
 *
 * The server's table and the agent's "again or never" are read from the one list below.
 */

export const certificatesPath = '/v1/certificates'
export const maximumBodyBytes = 16 * 1024

export interface CertificateRequest {
  /** PKCS#10, PEM. */
  csr: string
  /** The addresses that the pod sees itself; compared, never signed. */
  podIPs: string[]
}

export interface CertificateResponse {
  /** PEM, leaf first. */
  certificate: string
  /** PEM; the only certificates that the pod may trust. The first has signed its own. */
  trustAnchors: string
  /** Lower-case hexadecimal. */
  serialNumber: string
  /** RFC 3339. */
  notBefore: string
  /** RFC 3339. */
  notAfter: string
}

export interface RefusalResponse {
  code: RefusalCode
  message: string
  /** Names the log line of the server that has the reason. */
  requestId: string
}

/** 409: the authority takes the names from the request, which must ask for exactly these. */
export interface NamesRequiredResponse extends RefusalResponse {
  code: 'NamesRequired'
  dnsNames: string[]
  ipAddresses: string[]
}

/**
 * Status and public text of every refusal. 503 is "again" (with Retry-After), 409 asks for another request, everything
 * else is "never". The text says nothing about the cluster; the server's log has the reason.
 */
export const refusals = {
  BadRequest: { status: 400, text: 'The request is not {"csr": PEM, "podIPs": [addresses]}.' },
  TokenRequired: { status: 401, text: 'An Authorization header with a bearer token is required.' },
  TokenMalformed: {
    status: 401,
    text: 'The token is not a service account token of this cluster for this service.'
  },
  TokenExpired: { status: 503, text: 'The token has expired; read it anew from its file.' },
  TokenNotAuthenticated: { status: 401, text: 'The Kubernetes API does not accept the token.' },
  TokenAudience: { status: 401, text: 'The token is not meant for this service.' },
  TokenNotBound: { status: 401, text: 'The token is not bound to a pod.' },
  PodNotFound: { status: 403, text: 'The pod of the token does not exist.' },
  PodMismatch: { status: 403, text: 'The token does not belong to this pod.' },
  PodTerminating: { status: 403, text: 'The pod is being deleted.' },
  PodFinished: { status: 403, text: 'The pod has finished.' },
  PodHostNetwork: { status: 403, text: "A pod on its node's network cannot have a certificate." },
  PodNotInjected: {
    status: 403,
    text: 'The pod does not carry the init container as it was injected.'
  },
  // Again: during an upgrade the two components know different images for a while.
  ImageNotKnown: { status: 503, text: 'The image of the init container is not known here (yet).' },
  AlreadyEnrolled: {
    status: 503,
    text: 'The init container of this pod has ended with success already.'
  },
  IPNotVisible: {
    status: 503,
    text: 'The addresses of the pod are not visible in the Kubernetes API yet.'
  },
  IPMismatch: {
    status: 503,
    text: 'The addresses that the pod sees differ from those in the Kubernetes API.'
  },
  IPConflict: { status: 503, text: 'Another pod holds an address of this pod.' },
  SourceAddress: { status: 403, text: 'The request does not come from an address of the pod.' },
  RayClusterRequired: { status: 403, text: 'The pod is not owned by a RayCluster.' },
  RayClusterNotFound: { status: 403, text: 'The RayCluster that owns the pod does not exist.' },
  RoleUnknown: { status: 403, text: 'The pod is neither the head nor a worker of its RayCluster.' },
  HeadNotKnown: { status: 503, text: 'The head of the RayCluster is not known yet.' },
  HeadServiceNotKnown: {
    status: 503,
    text: 'The head service of the RayCluster does not exist yet.'
  },
  CsrMalformed: {
    status: 422,
    text: 'The certificate request is not a well-formed PKCS#10 request.'
  },
  CsrSignature: { status: 422, text: 'The certificate request is not signed by its own key.' },
  CsrUnexpected: {
    status: 422,
    text: 'The certificate request asks for something that is not granted.'
  },
  KeyNotAllowed: {
    status: 422,
    text: 'The key must be P-256, P-384 or RSA with 2048 to 4096 bits.'
  },
  KeyReused: { status: 403, text: 'The key belongs to another pod.' },
  NamesRequired: { status: 409, text: 'The certificate request must ask for exactly these names.' },
  NamesMismatch: {
    status: 422,
    text: 'The certificate request asks for other names than the pod may have.'
  },
  // Again: the pod goes on as soon as the label is put right.
  LifetimeLabel: {
    status: 503,
    text: 'The label rayguard.dev/certificate-lifetime of the namespace is not a duration like 30d; its administrator has to correct it.'
  },
  QuotaExceeded: { status: 503, text: 'Too many certificates in a short time.' },
  ApiUnavailable: { status: 503, text: 'The Kubernetes API does not answer.' },
  AuthorityDenied: {
    status: 403,
    text: 'The certificate authority has denied this certificate request.'
  },
  AuthorityUnavailable: {
    status: 503,
    text: 'The certificate authority does not answer, or cannot sign now.'
  },
  NotReady: { status: 503, text: 'The server is not ready.' }
} as const satisfies Record<string, { status: number; text: string }>

export type RefusalCode = keyof typeof refusals

/** What the agent writes as its termination message, and status commands read from the pod. */
export interface TerminationMessage {
  serialNumber: string
  notAfter: string
  /** SHA-256 of the DER of the trust anchor that has signed the certificate, lower-case hexadecimal. */
  anchorSha256: string
  /**
   * SHA-256 of that anchor's name, key and key identifier, which outlive a renewal of its certificate. Older agents do not say
   * it.
   */
  anchorKeySha256?: string
  /** The same of all trust anchors, that one included. Older agents do not say it, nor does one that has too many. */
  trustedSha256?: string[]
  trustedKeySha256?: string[]
}
