/** What the API server says of who asks. Types only, in the spelling of the wire. */

/** https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/ */
export interface TokenReviewStatus {
  authenticated?: boolean
  error?: string
  audiences?: string[] | null
  user?: UserInfo | null
}

export interface UserInfo {
  username?: string
  uid?: string
  groups?: string[] | null
  extra?: Record<string, string[]> | null
}
