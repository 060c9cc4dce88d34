/**
 * A key that stays in its token: a few sessions that sign side by side, a queue before them, and the way back after the
 * token was away.
 *
 * Decides when a session is lost and when a new login is tried. It may hold the event loop, which is why it runs in
 * token-host.ts.
 */
import { AuthorityError } from '../authority.ts'
import { inTime } from '../in-time.ts'
import { digestOf, isRefused, type RefusedPin } from '../refused-pin.ts'
import { faultOf, isLost, isWrongPin, mayBeLost } from './faults.ts'
import type { Handle, Library } from './library.ts'
import type { SignatureForm } from './signature-form.ts'
import {
  type KeyType,
  type KeyUse,
  type OpenToken,
  openToken,
  type TokenSettings
} from './token.ts'

export interface TokenKeyOptions extends TokenSettings {
  /** Of the issuing CA's key. */
  keyType: KeyType
  /** Asked before each login. */
  readPin: () => Promise<string>
  /** Kept up to date. */
  refusedPin: RefusedPin
  /** For one signature, and for the place in the queue. */
  timeoutMs: number
  /** No login sooner after one that failed, and none anew so soon after one for a fault that nobody knows. */
  pauseMs: number
}

/** What the token does to a message, not what the message is. */
export interface Signing extends Pick<SignatureForm, 'mechanism' | 'size'> {
  /** The CA's own, if nothing else is said. */
  by?: KeyUse
}

export interface TokenKey {
  /** Logs in unless that is done; the others do it on their way. What could be better about the key. Throws AuthorityError. */
  connect(): Promise<string[]>
  /** Throws AuthorityError. */
  sign(signing: Signing, message: Uint8Array): Promise<Uint8Array>
  /** Waits for signatures that are at work. */
  close(): Promise<void>
}

interface Connection extends Pick<OpenToken, 'keys' | 'warnings'> {
  /** Milliseconds, when it was opened. */
  since: number
  idle: Handle[]
  /** Sessions at work. The library must not be restarted under them. */
  busy: number
  waiting: Set<() => void>
  whenIdle: (() => void)[]
}

const mostWaiting = 10_000

export function createTokenKey(library: Library, options: TokenKeyOptions): TokenKey {
  const { calls } = library
  const { timeoutMs, pauseMs, refusedPin } = options
  let connection: Connection | undefined
  let former: Connection | undefined
  let opening: Promise<Connection> | undefined
  let failure: AuthorityError | undefined
  let pause: NodeJS.Timeout | undefined
  let used = false
  let closed = false

  return {
    async connect() {
      const { warnings } = connection ?? (await connected())
      return warnings
    },
    sign: (signing, message) => signature(signing, Buffer.from(message), true),
    async close() {
      closed = true
      clearTimeout(pause)
      await opening?.catch(() => {})
      if (connection !== undefined) retire(connection)
      if (former === undefined || (await settled(former))) library.close()
    }
  }

  async function signature(signing: Signing, message: Buffer, again: boolean): Promise<Uint8Array> {
    const { from, session } = await taken()
    try {
      return await signed(from, session, signing, message)
    } catch (error) {
      const hasLasted = performance.now() - from.since >= pauseMs
      if (!isLost(error) && !(mayBeLost(error) && hasLasted)) throw faultOf(error)
      retire(from)
      if (!again) throw faultOf(error)
      return signature(signing, message, false)
    }
  }

  /** One session is for one signature at a time (PKCS#11 2.40 §5.11): the caller has it for itself. */
  async function signed(
    from: Connection,
    session: Handle,
    { mechanism, size, by = 'signing' }: Signing,
    message: Buffer
  ): Promise<Uint8Array> {
    const key = from.keys[by]
    const work = (async () => {
      try {
        if (key === undefined) throw new AuthorityError('Invalid', 'No key for this is set.')
        calls.C_SignInit(session, { mechanism }, key)
        return await calls.C_SignAsync(session, message, Buffer.alloc(size))
      } finally {
        // When it comes too late too: until then there is one session less.
        giveBack(from, session)
      }
    })()
    return await inTime(work, timeoutMs, 'The token has not signed in time.')
  }

  async function taken(): Promise<{ from: Connection; session: Handle }> {
    for (;;) {
      const from = connection ?? (await connected())
      const session = from.idle.pop()
      if (session !== undefined) {
        from.busy += 1
        return { from, session }
      }
      if (from.waiting.size >= mostWaiting) {
        throw new AuthorityError('Unavailable', `${mostWaiting} signatures wait for the token.`)
      }
      await turn(from)
    }
  }

  /** Until a session is free or the connection is lost. */
  async function turn({ waiting }: Connection): Promise<void> {
    let wake = () => {}
    const woken = new Promise<void>(resolve => {
      wake = resolve
    })
    waiting.add(wake)
    try {
      await inTime(woken, timeoutMs, 'The token has too much to sign.')
    } finally {
      waiting.delete(wake)
    }
  }

  function giveBack(to: Connection, session: Handle): void {
    to.busy -= 1
    to.idle.push(session)
    if (to.busy === 0) for (const tell of to.whenIdle.splice(0)) tell()
    const [wake] = to.waiting
    if (wake === undefined) return
    to.waiting.delete(wake)
    wake()
  }

  function retire(lost: Connection): void {
    if (connection !== lost) return
    connection = undefined
    former = lost
    for (const wake of lost.waiting) wake()
    lost.waiting.clear()
  }

  /** One login for all who wait; after one that failed, the same answer for a while. */
  async function connected(): Promise<Connection> {
    if (closed) throw new AuthorityError('Unavailable', 'The token is closed.')
    if (failure !== undefined) throw failure
    opening ??= newConnection().finally(() => {
      opening = undefined
    })
    return await opening
  }

  async function newConnection(): Promise<Connection> {
    try {
      if (former !== undefined && !(await settled(former))) {
        throw new AuthorityError('Unavailable', 'Signatures hang in the PKCS#11 library.')
      }
      const pin = await options.readPin()
      // Attack on ourselves: tokens lock after a few wrong PINs, and each waiting pod would try one.
      if (isRefused(refusedPin, pin)) throw faultOf(new Error('CKR_PIN_INCORRECT'))
      // Many libraries see a token that has come back only when they start anew.
      if (used) library.restart()
      used = true
      connection = opened(pin)
      former = undefined
      return connection
    } catch (error) {
      failure = faultOf(error)
      pause = setTimeout(() => {
        failure = undefined
      }, pauseMs)
      pause.unref()
      throw failure
    }
  }

  function opened(pin: string): Connection {
    try {
      const { sessions, keys, warnings } = openToken(calls, options, pin)
      refusedPin.digest = undefined
      return {
        ...{ keys, warnings, since: performance.now() },
        ...{ idle: sessions, busy: 0, waiting: new Set(), whenIdle: [] }
      }
    } catch (error) {
      if (isWrongPin(error) || isWrongPin((error as Error).cause))
        refusedPin.digest = digestOf(refusedPin, pin)
      throw error
    }
  }

  /** False when a signature is still at work after the time for one. */
  async function settled(lost: Connection): Promise<boolean> {
    if (lost.busy === 0) return true
    const idle = new Promise<void>(resolve => {
      lost.whenIdle.push(resolve)
    })
    return await inTime(idle, timeoutMs, '').then(
      () => true,
      () => false
    )
  }
}
