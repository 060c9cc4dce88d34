/**
 * Asks an issuer for its CA anew where its answers are all that is known of it and nobody else asks.
 *
 * Decides when: in the last half of the life of what is known, and after its end. A CA is renewed while no pod wants a
 * certificate, and with the former one none could be asked for in its last hour. One request in each interval, by the probe
 * that was asked at first: a person may have to approve it.
 */
import type { Chain } from '../../x509/chain.ts'
import { AuthorityError } from '../authority.ts'
import { type AuthorityOptions, clusterOf, defaultPollMs } from '../options.ts'
import { poll } from '../poll.ts'
import type { Patience } from '../request-objects.ts'

export interface RenewedCaOptions extends AuthorityOptions {
  /** What is known. */
  chain(): Chain
  /** When an answer has last told it, by the steady clock. */
  answeredAt(): number | undefined
  /** Learns from the answer. Throws AuthorityError. */
  ask(patience: Patience): Promise<unknown>
}

const minuteMs = 60_000
const shortestMs = 5 * minuteMs
const longestMs = 24 * 60 * minuteMs
const inside = { code: 'Unavailable', message: 'A fault inside.' } as const
/** What nobody approves is taken away after an hour, also by other replicas. */
const longestWaitMs = 55 * minuteMs

/** Returns what ends it, and waits for what is under way. */
export function lookForRenewedCa(options: RenewedCaOptions): () => Promise<void> {
  const { chain, answeredAt, ask, clock } = options
  const { steadyClock, fraction, onFault } = clusterOf(options)
  const closing = new AbortController()
  let askedAt = steadyClock()
  /** Replicas that have started together are not to ask together for ever. */
  let spread = fraction()
  let told: string | undefined
  const stop = poll(options.pollMs ?? defaultPollMs, look)
  return async () => {
    closing.abort()
    await stop()
  }

  async function look(): Promise<void> {
    if (!isDue()) return
    askedAt = steadyClock()
    spread = fraction()
    try {
      await ask({ waitMs: Math.min(intervalMs(), longestWaitMs), signal: closing.signal })
      told = undefined
    } catch (error) {
      if (!closing.signal.aborted) tell(error)
    }
  }

  function isDue(): boolean {
    const { notBefore, notAfter } = chain()
    if (clock() < (notBefore.getTime() + notAfter.getTime()) / 2) return false
    const last = Math.max(askedAt, answeredAt() ?? 0)
    return steadyClock() - last >= intervalMs() * (1 + spread / 10)
  }

  function intervalMs(): number {
    const { notBefore, notAfter } = chain()
    const life = notAfter.getTime() - notBefore.getTime()
    return Math.min(Math.max(life / 20, shortestMs), longestMs)
  }

  /** A fault that lasts is one fault. */
  function tell(error: unknown): void {
    const { code, message } = error instanceof AuthorityError ? error : inside
    if (code === told) return
    told = code
    const end = chain().notAfter.toISOString()
    onFault?.(
      new AuthorityError(
        code,
        `Whether the CA that ends at ${end} was renewed is not known, for the issuer has not signed the request that would tell: ${message}`,
        { cause: error }
      )
    )
  }
}
