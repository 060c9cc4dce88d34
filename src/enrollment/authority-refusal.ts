import { AuthorityError, type AuthorityErrorCode } from '../authority/authority.ts'
import { type Refusal, refuse } from '../identity/refusal.ts'

const codes: Partial<Record<AuthorityErrorCode, Refusal['code']>> = {
  Denied: 'AuthorityDenied',
  Exhausted: 'QuotaExceeded',
  TooEarly: 'HeadNotKnown'
}

/** What the pod is told of an authority's fault; the fault itself is for the log. */
export function authorityRefusal(cause: unknown): Refusal & { cause: unknown } {
  if (!(cause instanceof AuthorityError))
    return { ...refuse('AuthorityUnavailable', 'a fault'), cause }
  const code = codes[cause.code] ?? 'AuthorityUnavailable'
  return { ...refuse(code, `${cause.code}: ${cause.message}`), cause }
}
