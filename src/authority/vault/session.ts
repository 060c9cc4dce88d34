/**
 * Calls with a token that is good: renewed before its end, and had anew when it cannot be renewed or Vault knows it no
 * more.
 *
 * Decides when to log in: once for all who wait, not again right after a login that failed, and not because a token that
 * is new is denied something; ever more seldom for what new tokens have been denied, too. Without a token it goes on
 * to log in by itself: nobody else may ask, and what is told of the authority has to be true.
 */
import { AuthorityError } from '../authority.ts'
import { faultOf } from './faults.ts'
import { type LoginSettings, logIn, renewed, type VaultToken } from './login.ts'
import type { Transport } from './transport.ts'

export interface SessionOptions {
  transport: Transport
  login: LoginSettings
  /** No login sooner after one that failed, nor because a token younger than this is denied something. */
  pauseMs: number
}

export interface Session {
  /** The whole answer. `secrets`: what must not come back in a message. Throws AuthorityError. */
  post(path: string, body: object, secrets?: readonly string[]): Promise<Record<string, unknown>>
  /** Why there is no token, if so. */
  problem(): string | undefined
  close(): Promise<void>
}

interface Held extends VaultToken {
  since: number
}

/** A policy of which nobody takes care: each login is a token, and may be one use less of a secret id. */
const longestPauseMs = 5 * 60_000
/** Of one login that failed and the next by itself; whoever asks may be sooner. */
const longestLoginPauseMs = 60_000
/** Of the token's life; what is left is for tries that fail. */
const renewAfter = 2 / 3
const longestTimerMs = 24 * 3600 * 1000

/** Logs in at once. Throws AuthorityError. */
export async function createSession(options: SessionOptions): Promise<Session> {
  const { transport, login, pauseMs } = options
  let held: Held | undefined
  let opening: Promise<Held> | undefined
  /** The last login, where it failed, and how many in a row have. */
  let failed: { fault: AuthorityError; at: number; count: number } | undefined
  let timer: NodeJS.Timeout | undefined
  let keeping: Promise<void> = Promise.resolve()
  let closed = false
  /** By path: how often in a row a new token was denied it, and which one was last. */
  const denials = new Map<string, { count: number; token: Held }>()

  // Of no session yet: whoever opens it anew decides when.
  let first = await logIn(login, transport).catch((error: unknown) => {
    throw asFault(error)
  })
  hold(first)
  return {
    async post(path, body, secrets = []) {
      const used = await token()
      const reply = await send(path, body, used)
      if (isDone(reply)) {
        denials.delete(path)
        return reply.body
      }
      if (reply.status !== 403 || !stale(used, path)) {
        throw faultOf(reply, path, [...secrets, used.text])
      }
      // Expired, revoked, used up, or of a Vault that has been set up anew: all that is told is 403.
      const fresh = await another(used)
      const second = await send(path, body, fresh)
      if (isDone(second)) return second.body
      if (second.status === 403) noteDenial(path, fresh)
      throw faultOf(second, path, [...secrets, fresh.text])
    },
    problem: () => (held === undefined ? failed?.fault.message : undefined),
    async close() {
      closed = true
      clearTimeout(timer)
      await Promise.all([keeping, opening?.catch(() => {})])
      if (held !== undefined) await giveBack(held)
      held = undefined
    }
  }

  function send(path: string, body: object, { text }: Held) {
    return transport.call({ method: 'POST', path, body, token: text, repeatable: true })
  }

  function stale(used: Held, path: string): boolean {
    const { count } = denials.get(path) ?? { count: 0 }
    const waitMs = Math.min(pauseMs * 2 ** count, Math.max(pauseMs, longestPauseMs))
    return held !== used || performance.now() - used.since >= waitMs
  }

  /** Those who were denied with one token count once. */
  function noteDenial(path: string, token: Held): void {
    const known = denials.get(path)
    if (known?.token !== token) denials.set(path, { count: (known?.count ?? 0) + 1, token })
  }

  async function another(used: Held): Promise<Held> {
    if (held === used) {
      held = undefined
      // It may be good for all else, and would live on for as long as the role says.
      void giveBack(used)
    }
    return await token()
  }

  /** After a login that failed the same answer for a while. */
  async function token(): Promise<Held> {
    if (closed) throw new AuthorityError('Unavailable', 'The authority is closed.')
    if (held !== undefined) return held
    if (failed !== undefined && performance.now() - failed.at < pauseMs) throw failed.fault
    return await newToken()
  }

  /** One login for all who wait. */
  function newToken(): Promise<Held> {
    opening ??= loggedIn().finally(() => {
      opening = undefined
    })
    return opening
  }

  async function loggedIn(): Promise<Held> {
    try {
      first = await logIn(login, transport)
      return hold(first)
    } catch (error) {
      throw noted(asFault(error))
    }
  }

  function hold(found: VaultToken): Held {
    held = { ...found, since: performance.now() }
    failed = undefined
    schedule(found.lifetimeMs * renewAfter)
    return held
  }

  function noted(fault: AuthorityError): AuthorityError {
    const count = (failed?.count ?? 0) + 1
    failed = { fault, at: performance.now(), count }
    if (held !== undefined && hasEnded(held)) held = undefined
    schedule(Math.min(pauseMs * 2 ** (count - 1), Math.max(pauseMs, longestLoginPauseMs)))
    return fault
  }

  function schedule(afterMs: number): void {
    clearTimeout(timer)
    if (closed || afterMs === 0) return
    timer = setTimeout(
      () => {
        keeping = keep()
      },
      Math.min(afterMs, longestTimerMs)
    )
    timer.unref()
  }

  /** The old token stays in use until there is another: it is good for a third of its life. */
  async function keep(): Promise<void> {
    const before = held
    const longer = before?.renewable
      ? await renewed(transport, before).catch(() => undefined)
      : undefined
    // Given up meanwhile, and revoked, because it was denied something.
    if (held !== before) return
    // Less than half of what it had: Vault lets no token live for ever, and this one nears its end.
    if (longer !== undefined && longer.lifetimeMs >= first.lifetimeMs / 2) hold(longer)
    // One that fails is noted, and whoever needs a token when this one has ended learns why.
    else await newToken().catch(() => {})
  }

  /** Only what was given to us for ourselves, and without insisting. */
  async function giveBack({ text: token }: Held): Promise<void> {
    if (login.kind === 'tokenFile') return
    const path = 'auth/token/revoke-self'
    const call = { method: 'POST' as const, path, body: {}, token, repeatable: false }
    await transport.call(call).catch(() => {})
  }
}

function isDone({ status }: { status: number }): boolean {
  return status >= 200 && status <= 299
}

function hasEnded({ since, lifetimeMs }: Held): boolean {
  return lifetimeMs > 0 && performance.now() - since >= lifetimeMs
}

function asFault(error: unknown): AuthorityError {
  return error instanceof AuthorityError
    ? error
    : new AuthorityError('Unavailable', 'The login to Vault failed.', { cause: error })
}
