/**
 * How a token of Vault is had: by the pod's own identity (Kubernetes), by a role's two halves (AppRole), or from a file
 * that somebody else keeps, such as Vault Agent.
 *
 * Reads each file anew each time, and never quotes what stands in it.
 */
import { AuthorityError } from '../authority.ts'
import { readTextFile } from '../pem-files.ts'
import { faultOf, isWrongAppRole } from './faults.ts'
import type { Reply, Transport } from './transport.ts'

export type LoginSettings =
  | { kind: 'kubernetes'; mount: string; role: string; tokenFile: string }
  | { kind: 'appRole'; mount: string; roleIdFile: string; secretIdFile: string }
  | { kind: 'tokenFile'; tokenFile: string }

export interface VaultToken {
  text: string
  /** From when it was given; 0 for one that never ends. */
  lifetimeMs: number
  renewable: boolean
}

/** Throws AuthorityError. */
export async function logIn(settings: LoginSettings, transport: Transport): Promise<VaultToken> {
  switch (settings.kind) {
    case 'kubernetes': {
      const jwt = await secretIn(settings.tokenFile)
      return await exchanged(transport, settings.mount, { role: settings.role, jwt }, [jwt])
    }
    case 'appRole': {
      const role_id = await secretIn(settings.roleIdFile)
      const secret_id = await secretIn(settings.secretIdFile)
      const secrets = [role_id, secret_id]
      return await exchanged(transport, settings.mount, { role_id, secret_id }, secrets)
    }
    case 'tokenFile':
      return await found(transport, await secretIn(settings.tokenFile))
    default:
      throw new AuthorityError('Invalid', `There is no login of kind ${kindOf(settings)}.`)
  }
}

/** For longer; a token near its last end gets less than it had. Throws AuthorityError. */
export async function renewed(transport: Transport, { text }: VaultToken): Promise<VaultToken> {
  const path = 'auth/token/renew-self'
  const reply = await transport.call({
    method: 'POST',
    path,
    body: {},
    token: text,
    repeatable: true,
    ahead: true
  })
  if (reply.status !== 200) throw faultOf(reply, path, [text])
  return tokenOf(reply, path)
}

function kindOf(settings: { kind: string }): string {
  return settings.kind
}

async function secretIn(file: string): Promise<string> {
  const text = (await readTextFile(file)).trim()
  if (text !== '') return text
  throw new AuthorityError(
    'Invalid',
    `The file ${file} is empty; what logs in to Vault was expected.`
  )
}

async function exchanged(
  transport: Transport,
  mount: string,
  body: object,
  secrets: string[]
): Promise<VaultToken> {
  const path = `auth/${mount}/login`
  // Not repeatable: a secret id may be good for one use.
  const reply = await transport.call({ method: 'POST', path, body, repeatable: false, ahead: true })
  if (reply.status === 200) return tokenOf(reply, path)
  const fault = faultOf(reply, path, secrets)
  if (fault.code !== 'Refused' && !isWrongAppRole(reply)) throw fault
  throw new AuthorityError(
    'Refused',
    `The login is refused: ${fault.message} Look at authority.login, and at the role in Vault.`,
    { cause: fault }
  )
}

function tokenOf({ body }: Reply, path: string): VaultToken {
  const auth = (body.auth ?? {}) as Record<string, unknown>
  const { client_token: text, lease_duration: seconds, renewable } = auth
  if (typeof text !== 'string' || text === '' || typeof seconds !== 'number') {
    throw new AuthorityError(
      'Refused',
      `Vault gives no token at ${path}; does the login want more?`
    )
  }
  return { text, lifetimeMs: seconds * 1000, renewable: renewable === true }
}

async function found(transport: Transport, text: string): Promise<VaultToken> {
  const path = 'auth/token/lookup-self'
  const reply = await transport.call({
    method: 'GET',
    path,
    token: text,
    repeatable: true,
    ahead: true
  })
  if (reply.status === 403) {
    throw new AuthorityError(
      'Refused',
      'The token in authority.login.tokenFile has expired, was revoked, or is none. Put a new one there.'
    )
  }
  if (reply.status !== 200) throw faultOf(reply, path, [text])
  const { ttl, expire_time, renewable } = (reply.body.data ?? {}) as Record<string, unknown>
  const seconds = typeof ttl === 'number' ? ttl : 0
  return {
    text,
    // Whole seconds: 0 in the last one, too.
    lifetimeMs: (typeof expire_time === 'string' ? Math.max(1, seconds) : seconds) * 1000,
    renewable: renewable === true
  }
}
