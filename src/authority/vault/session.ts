/**
 * Calls with a token that is good: renewed before its end, and had anew when it cannot be renewed or Vault knows it no
 * more.
 *
 * Decides when to log in: once for all who wait, not again right after a login that failed, and not because a token that
 * is new is denied something.
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

/** Of the token's life; what is left is for tries that fail. */
const renewAfter = 2 / 3
const longestTimerMs = 24 * 3600 * 1000

/** Logs in at once. Throws AuthorityError. */
export async function createSession(options: SessionOptions): Promise<Session> {
  const { transport, login, pauseMs } = options
  let held: Held | undefined
  let first: VaultToken | undefined
  let opening: Promise<Held> | undefined
  /** During the pause after a login that failed. */
  let failure: AuthorityError | undefined
  let reason: string | undefined
  let pause: NodeJS.Timeout | undefined
  let timer: NodeJS.Timeout | undefined
  let keeping: Promise<void> = Promise.resolve()
  let closed = false

  await token()
  return {
    async post(path, body, secrets = []) {
      const used = await token()
      const reply = await send(path, body, used)
      if (reply.status >= 200 && reply.status <= 299) return reply.body
      if (reply.status !== 403 || !stale(used)) throw faultOf(reply, path, [...secrets, used.text])
      // Expired, revoked, used up, or of a Vault that has been set up anew: all that is told is 403.
      if (held === used) held = undefined
      const fresh = await token()
      const second = await send(path, body, fresh)
      if (second.status >= 200 && second.status <= 299) return second.body
      throw faultOf(second, path, [...secrets, fresh.text])
    },
    problem: () => (held === undefined ? reason : undefined),
    async close() {
      closed = true
      clearTimeout(timer)
      clearTimeout(pause)
      await Promise.all([keeping, opening?.catch(() => {})])
      await giveBack()
    }
  }

  function send(path: string, body: object, { text }: Held) {
    return transport.call({ method: 'POST', path, body, token: text, repeatable: true })
  }

  function stale(used: Held): boolean {
    return held !== used || performance.now() - used.since >= pauseMs
  }

  /** One login for all who wait; after one that failed, the same answer for a while. */
  async function token(): Promise<Held> {
    if (closed) throw new AuthorityError('Unavailable', 'The authority is closed.')
    if (held !== undefined) return held
    if (failure !== undefined) throw failure
    opening ??= newToken().finally(() => {
      opening = undefined
    })
    return await opening
  }

  async function newToken(): Promise<Held> {
    try {
      first = await logIn(login, transport)
      return hold(first)
    } catch (error) {
      failure = asFault(error)
      reason = failure.message
      pause = setTimeout(() => {
        failure = undefined
      }, pauseMs)
      pause.unref()
      throw failure
    }
  }

  function hold(found: VaultToken): Held {
    held = { ...found, since: performance.now() }
    failure = undefined
    reason = undefined
    schedule(found.lifetimeMs * renewAfter)
    return held
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
    if (held === undefined) return
    try {
      const longer = held.renewable
        ? await renewed(transport, held).catch(() => undefined)
        : undefined
      // Less than half of what it had: Vault lets no token live for ever, and this one nears its end.
      const enough = longer !== undefined && longer.lifetimeMs >= (first?.lifetimeMs ?? 0) / 2
      if (enough) hold(longer)
      else {
        first = await logIn(login, transport)
        hold(first)
      }
    } catch {
      // Whoever needs a token when this one has ended learns why.
      schedule(pauseMs)
    }
  }

  /** Only what was given to us for ourselves, and without insisting. */
  async function giveBack(): Promise<void> {
    if (held === undefined || login.kind === 'tokenFile') return
    const path = 'auth/token/revoke-self'
    const call = { method: 'POST' as const, path, body: {}, token: held.text, repeatable: false }
    held = undefined
    await transport.call(call).catch(() => {})
  }
}

function asFault(error: unknown): AuthorityError {
  return error instanceof AuthorityError
    ? error
    : new AuthorityError('Unavailable', 'The login to Vault failed.', { cause: error })
}
