/**
 * Whose token is it? First a cheap look that only drops junk, then the answer of the Kubernetes API.
 *
 * Decides nothing by what the token says about itself: its signature is judged by TokenReview alone. Without the first
 * look every junk token would be a call to the API.
 */
import type { TokenReviewStatus } from '../kubernetes/reviews.ts'
import { type Proof, refuse } from './refusal.ts'

export interface LikelyToken {
  text: string
  /** Milliseconds since the epoch; unproven. */
  expiresAt: number
}

/** Who holds a token, as the API server says. */
export interface Holder {
  namespace: string
  serviceAccount: string
  podName: string
  podUid: string
  /** Kubernetes 1.30 and later (KEP-4193). */
  nodeName?: string
  /** For the audit log: the same in the API server's own log. */
  credentialId?: string
}

const longestToken = 8192
const shape = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/

/** `now`: milliseconds since the epoch. */
export function likelyToken(
  authorization: string | undefined,
  audience: string,
  now: number
): Proof<LikelyToken> {
  const text = /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1]
  if (text === undefined) return refuse('TokenRequired', 'no bearer token')
  if (text.length > longestToken) return refuse('TokenMalformed', `${text.length} characters long`)
  const claims = shape.test(text) ? claimsOf(text) : undefined
  if (claims === undefined) return refuse('TokenMalformed', 'not a JSON Web Token')
  const { aud, exp, sub } = claims
  if (typeof sub !== 'string' || !sub.startsWith('system:serviceaccount:'))
    return refuse('TokenMalformed', 'not the token of a service account')
  if (![aud].flat().includes(audience))
    return refuse('TokenAudience', `the token does not name the audience ${audience}`)
  if (!namesPod(claims['kubernetes.io'])) return refuse('TokenNotBound', 'the token names no pod')
  if (typeof exp !== 'number') return refuse('TokenMalformed', 'the token does not expire')
  if (exp * 1000 <= now) return refuse('TokenExpired', 'the token has expired')
  return { allowed: true, text, expiresAt: exp * 1000 }
}

function claimsOf(token: string): Record<string, unknown> | undefined {
  const payload = token.split('.')[1] ?? ''
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims)
      ? (claims as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

function namesPod(claim: unknown): boolean {
  const pod = (claim as { pod?: { name?: unknown; uid?: unknown } | null } | null | undefined)?.pod
  return typeof pod?.name === 'string' && typeof pod.uid === 'string'
}

const extra = 'authentication.kubernetes.io'

/**
 * Reads a TokenReview. An answer without our audience is refused even where it says `authenticated`: an API server that
 * does not know audiences answers so for every token, and the default API token of any pod would do.
 * (https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/)
 */
export function holderOf(review: TokenReviewStatus, audience: string): Proof<Holder> {
  if (review.authenticated !== true || review.error)
    return refuse('TokenNotAuthenticated', review.error || 'the API server does not know the token')
  if (!review.audiences?.includes(audience))
    return refuse('TokenAudience', 'the API server does not confirm the audience')
  const [, namespace, serviceAccount] =
    /^system:serviceaccount:([^:]+):([^:]+)$/.exec(review.user?.username ?? '') ?? []
  if (namespace === undefined || serviceAccount === undefined)
    return refuse('TokenNotBound', 'the user of the token is not a service account')
  const groups = review.user?.groups ?? []
  if (
    !groups.includes('system:serviceaccounts') ||
    !groups.includes(`system:serviceaccounts:${namespace}`)
  )
    return refuse('TokenNotBound', 'the user of the token lacks the groups of a service account')
  const podName = extraOf(review, 'pod-name')
  const podUid = extraOf(review, 'pod-uid')
  const nodeName = extraOf(review, 'node-name')
  if (podName.length !== 1 || podUid.length !== 1 || !podName[0] || !podUid[0])
    return refuse('TokenNotBound', 'the API server does not name exactly one pod')
  if (nodeName.length > 1) return refuse('TokenNotBound', 'the API server names several nodes')
  const credentialId = extraOf(review, 'credential-id')[0]
  return {
    allowed: true,
    namespace,
    serviceAccount,
    podName: podName[0],
    podUid: podUid[0],
    ...(nodeName[0] === undefined ? {} : { nodeName: nodeName[0] }),
    ...(credentialId === undefined ? {} : { credentialId })
  }
}

function extraOf(review: TokenReviewStatus, key: string): string[] {
  return review.user?.extra?.[`${extra}/${key}`] ?? []
}
