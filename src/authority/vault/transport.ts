/**
 * How bytes get to Vault and back: kept-alive connections to one pinned server, turns, a time for each call, and what is
 * tried again.
 *
 * Follows no redirect: it would carry the token elsewhere. Trusts caFile and nothing else. Never puts what it sent into a
 * message.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'undici'
import { createTurns } from '../../flow/turns.ts'
import { AuthorityError } from '../authority.ts'
import { isSealed, noAnswer } from './faults.ts'

export interface TransportOptions {
  /** Base URL, https. */
  address: string
  /** PEM. */
  ca: string
  namespace?: string | undefined
  /** For a call with all its repeats, and for the wait for its turn. */
  timeoutMs: number
}

export interface Call {
  method: 'GET' | 'POST'
  /** Below `/v1/`. */
  path: string
  body?: object
  token?: string
  /** Whether it may be sent twice when it is not known to have been done. */
  repeatable: boolean
  /**
   * Does not stand behind signatures: what tells whether Vault is there would otherwise fail in all replicas at once when
   * there is more to sign than Vault can.
   */
  ahead?: true
}

/** Of any status. */
export interface Reply {
  status: number
  body: Record<string, unknown>
}

export interface Transport {
  /** Throws AuthorityError where there is no answer. */
  call(call: Call): Promise<Reply>
  /** For connections from now on. */
  trust(ca: string): void
  close(): Promise<void>
}

const connections = 16
/** And beside them for what goes ahead. */
const connectionsAhead = 2
const mostWaiting = 5_000
/** More than any chain of certificates. */
const limitBytes = 1024 * 1024
const repeatAfterMs = [100, 400]
const longestRetryAfterMs = 1_000
/** Limits of rate, a standby that is behind (Vault Enterprise), and what proxies say. */
const passing = new Set([412, 429, 472, 473, 500, 502, 503, 504])

export function createTransport(options: TransportOptions): Transport {
  const { timeoutMs } = options
  const turns = createTurns({ atOnce: connections, waiting: mostWaiting, waitMs: timeoutMs })
  const ahead = createTurns({ atOnce: connectionsAhead, waiting: mostWaiting, waitMs: timeoutMs })
  let pool = poolFor(options, options.ca)

  return {
    async call(call) {
      const place = (call.ahead ? ahead : turns).place()
      if (!(await place.enter())) {
        throw new AuthorityError('Unavailable', 'Too many requests wait for Vault.')
      }
      try {
        return await persistently(call, AbortSignal.timeout(timeoutMs))
      } finally {
        place.leave()
      }
    },
    trust(ca) {
      const former = pool
      pool = poolFor(options, ca)
      void former.close()
    },
    close: () => pool.destroy()
  }

  async function persistently(call: Call, signal: AbortSignal): Promise<Reply> {
    for (const waitMs of call.repeatable ? repeatAfterMs : []) {
      const found = await attempt(call, signal).catch((error: unknown) => {
        if (signal.aborted || !connectionBroke(error)) throw noAnswer(error)
        return undefined
      })
      const askedMs = found?.retryAfterMs ?? 0
      if (found !== undefined && (!mayPass(found.reply) || askedMs > longestRetryAfterMs)) {
        return found.reply
      }
      await pause(Math.max(waitMs, askedMs))
    }
    return await attempt(call, signal).then(
      ({ reply }) => reply,
      (error: unknown) => {
        throw noAnswer(error)
      }
    )
  }

  async function attempt(
    { method, path, body, token }: Call,
    signal: AbortSignal
  ): Promise<{ reply: Reply; retryAfterMs: number }> {
    const answer = await pool.request({
      method,
      path: `/v1/${path}`,
      headers: {
        accept: 'application/json',
        // Attack: a request that a browser or a proxy was led to make for somebody else lacks it.
        'x-vault-request': 'true',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { 'x-vault-token': token }),
        ...(options.namespace === undefined ? {} : { 'x-vault-namespace': options.namespace })
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal
    })
    const seconds = Number(answer.headers['retry-after'] ?? 0)
    return {
      reply: { status: answer.statusCode, body: parsed(await limited(answer.body)) },
      retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : 0
    }
  }
}

function poolFor({ address, timeoutMs }: TransportOptions, ca: string): Pool {
  return new Pool(address, {
    connections: connections + connectionsAhead,
    keepAliveTimeout: 60_000,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { ca, timeout: timeoutMs, minVersion: 'TLSv1.2' }
  })
}

/** Nothing passes by itself while Vault is sealed: a person has to come. */
function mayPass(reply: Reply): boolean {
  return passing.has(reply.status) && !isSealed(reply)
}

/** A kept-alive connection that the other side has closed meanwhile. */
function connectionBroke(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return code === 'ECONNRESET' || code === 'EPIPE' || code === 'UND_ERR_SOCKET'
}

async function limited(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > limitBytes) {
      throw new AuthorityError(
        'Unavailable',
        `An answer of Vault is longer than ${limitBytes} bytes.`
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length).toString('utf8')
}

/** What is no JSON object has nothing to say: a proxy's page. */
function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {}
  } catch {
    return {}
  }
}
