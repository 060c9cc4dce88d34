/**
 * What Vault's answers mean for people, and whether another try can help (https://developer.hashicorp.com/vault/api-docs,
 * "HTTP status codes").
 *
 * Quotes Vault's own sentence, without anything in it that could be a secret.
 */
import { AuthorityError } from '../authority.ts'
import type { Reply } from './transport.ts'

/** A reply that is no success, as an error. `secrets`: what was sent and must not come back in a message. */
export function faultOf(reply: Reply, path: string, secrets: readonly string[]): AuthorityError {
  const { status } = reply
  const said = sentence(reply, secrets)
  const answer = `Vault answers ${path} with ${status}${said === '' ? '' : ` (${said})`}`
  if (isSealed(reply)) return new AuthorityError('Unavailable', 'Vault is sealed; unseal it.')
  if (status >= 300 && status <= 399) {
    return new AuthorityError(
      'Unavailable',
      `${answer}, a redirect, which is never followed. Let authority.address lead to the active node, or have the standby nodes forward.`
    )
  }
  switch (status) {
    case 400:
      return new AuthorityError('Refused', `${answer}.`)
    case 403:
      return new AuthorityError(
        'Refused',
        `${answer}: the policy of the token does not allow it. docs/authorities/vault.md has the policy that is needed.`
      )
    case 404:
    case 405:
      return new AuthorityError(
        'Refused',
        `${answer}: there is nothing at that path. Look at mount, role and issuerRef of authority.`
      )
    default:
      return new AuthorityError('Unavailable', `${answer}.`)
  }
}

export function isSealed({ status, body }: Reply): boolean {
  return status === 503 && errorsOf(body).some(text => /\bsealed\b/i.test(text))
}

/** Some versions answer a wrong half of an AppRole with 500, which else would be "again". */
export function isWrongAppRole({ status, body }: Reply): boolean {
  return (
    status === 500 && errorsOf(body).some(text => /\binvalid (secret|role) ?-?_?id\b/i.test(text))
  )
}

/** OpenSSL's and Node's words for: not the server that caFile vouches for. Nothing of that passes by itself. */
const strangers = new Set([
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE'
])

export function noAnswer(error: unknown): AuthorityError {
  if (error instanceof AuthorityError) return error
  const { code, name, message } = (error ?? {}) as {
    code?: unknown
    name?: string
    message?: string
  }
  if (typeof code === 'string' && strangers.has(code)) {
    return new AuthorityError(
      'Invalid',
      `The server at authority.address is not one that authority.caFile vouches for (${code}).`,
      { cause: error }
    )
  }
  const why =
    name === 'TimeoutError'
      ? 'not in time'
      : typeof code === 'string'
        ? code
        : (message ?? 'unknown')
  return new AuthorityError('Unavailable', `Vault does not answer (${why}).`, { cause: error })
}

const longestSentence = 300

function sentence({ body }: Reply, secrets: readonly string[]): string {
  let text = errorsOf(body).join('; ')
  for (const secret of secrets) if (secret !== '') text = text.replaceAll(secret, '…')
  return (
    text
      // Tokens, and base64 of whatever kind: nothing that people read is so long without a break.
      .replace(/[A-Za-z0-9+/_=]{32,}/g, '…')
      .replace(/[^\x20-\x7e…]+/g, ' ')
      .trim()
      .slice(0, longestSentence)
  )
}

function errorsOf(body: Record<string, unknown>): string[] {
  return Array.isArray(body.errors) ? body.errors.filter(each => typeof each === 'string') : []
}
