import { randomUUID, sign, verify } from 'node:crypto'
import type { Pod } from '../kubernetes/objects.ts'
import type { TokenReviewStatus } from '../kubernetes/reviews.ts'
import { makeKeyPairSync } from '../x509/new-key.ts'
import type { Store } from './stand-in-store.ts'

export interface TokenOptions {
  /** Default `rayguard`. */
  audience?: string | string[]
  /** Default 600. */
  expirationSeconds?: number
  /** For attacks: claims that replace the real ones, still signed by the right key. */
  claims?: Record<string, unknown>
}

export interface Tokens {
  issue(pod: Pod, options?: TokenOptions): string
  /** Signed like the others, with any claims at all. */
  signed(claims: Record<string, unknown>): string
  review(token: string, audiences: string[]): TokenReviewStatus
}

/** What a token means when the request names no audience. */
export const apiAudience = 'https://kubernetes.default.svc.cluster.local'
const issuer = apiAudience
/** The API server accepts tokens of an object being deleted for this long (pkg/serviceaccount/claims.go). */
const leewayMs = 60_000

interface BoundClaims {
  aud?: string[]
  exp?: number
  jti?: string
  'kubernetes.io'?: {
    namespace: string
    pod?: { name: string; uid: string }
    node?: { name: string; uid: string }
    serviceaccount: { name: string; uid: string }
  }
}

export function createTokens(options: { store: Store; clock: () => number }): Tokens {
  const { store, clock } = options
  const pair = makeKeyPairSync()
  const dsaEncoding = 'ieee-p1363' as const

  return { issue, signed, review }

  function issue(
    pod: Pod,
    { audience = 'rayguard', expirationSeconds = 600, claims = {} }: TokenOptions = {}
  ) {
    const { namespace = '', name = '', uid = '' } = pod.metadata
    const account = pod.spec.serviceAccountName ?? 'default'
    const now = Math.floor(clock() / 1000)
    const node = pod.spec.nodeName
    return signed({
      aud: [audience].flat(),
      exp: now + expirationSeconds,
      iat: now,
      nbf: now,
      iss: issuer,
      jti: randomUUID(),
      'kubernetes.io': {
        namespace,
        ...(node ? { node: { name: node, uid: `${node}-uid` } } : {}),
        pod: { name, uid },
        serviceaccount: { name: account, uid: `${namespace}-${account}-uid` }
      },
      sub: `system:serviceaccount:${namespace}:${account}`,
      ...claims
    })
  }

  function signed(claims: Record<string, unknown>): string {
    const header = encoded({ alg: 'ES256', kid: 'stand-in', typ: 'JWT' })
    const input = `${header}.${encoded(claims)}`
    const signature = sign('sha256', Buffer.from(input), { key: pair.privateKey, dsaEncoding })
    return `${input}.${signature.toString('base64url')}`
  }

  function review(token: string, audiences: string[]): TokenReviewStatus {
    const claims = verified(token)
    if (claims === undefined) return refused('invalid bearer token')
    const wanted = audiences.length === 0 ? [apiAudience] : audiences
    const common = (claims.aud ?? []).filter(audience => wanted.includes(audience))
    if (common.length === 0) return refused('token audiences are invalid for the target audiences')
    if ((claims.exp ?? 0) * 1000 <= clock()) return refused('token has expired')
    const bound = claims['kubernetes.io']
    if (bound === undefined) return refused('invalid bearer token')
    if (bound.pod && !stands(bound.namespace, bound.pod)) return refused('pod is gone')
    const { namespace, node, pod, serviceaccount } = bound
    const prefix = 'authentication.kubernetes.io'
    return {
      authenticated: true,
      audiences: common,
      user: {
        username: `system:serviceaccount:${namespace}:${serviceaccount.name}`,
        uid: serviceaccount.uid,
        groups: [
          'system:serviceaccounts',
          `system:serviceaccounts:${namespace}`,
          'system:authenticated'
        ],
        extra: {
          ...(claims.jti ? { [`${prefix}/credential-id`]: [`JTI=${claims.jti}`] } : {}),
          ...(node
            ? { [`${prefix}/node-name`]: [node.name], [`${prefix}/node-uid`]: [node.uid] }
            : {}),
          ...(pod ? { [`${prefix}/pod-name`]: [pod.name], [`${prefix}/pod-uid`]: [pod.uid] } : {})
        }
      }
    }
  }

  function verified(token: string): BoundClaims | undefined {
    const [header = '', payload = '', signature = ''] = token.split('.')
    const key = { key: pair.publicKey, dsaEncoding }
    const input = Buffer.from(`${header}.${payload}`)
    if (!verify('sha256', input, key, Buffer.from(signature, 'base64url'))) return undefined
    return JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as BoundClaims
  }

  function stands(namespace: string, { name, uid }: { name: string; uid: string }): boolean {
    const pod = store.get({ kind: 'Pod', apiVersion: 'v1', namespace, name })
    if (!pod || pod.metadata.uid !== uid) return false
    const deletion = pod.metadata.deletionTimestamp
    return !deletion || clock() - Date.parse(deletion) < leewayMs
  }
}

function refused(error: string): TokenReviewStatus {
  return { user: {}, error: `[${error}]` }
}

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
