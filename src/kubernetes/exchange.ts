/**
 * One call over a kept-alive connection: its status, and its text whole, within a size and a time.
 *
 * By undici's `dispatch`: the stream, the iterator and the signal of its `request` are a fifth of a call's processor time, and
 * each pod's certificate takes several calls.
 */
import type { Dispatcher } from 'undici'
import { tooLarge } from './body.ts'

export interface Question {
  method: Dispatcher.HttpMethod
  origin: string
  path: string
  headers: Record<string, string>
  body: string | null
  limitBytes: number
  /** From now to the end of the answer, a new connection included. */
  timeoutMs: number
  /** Of who waits for it. */
  signal?: AbortSignal | undefined
}

export interface Answer {
  status: number
  date: string | string[] | undefined
  text: string
}

/** Rejects with what undici says, with the signal's reason, and with `TooLarge` of {@link KubernetesError}. */
export function exchange(pool: Dispatcher, question: Question): Promise<Answer> {
  const { limitBytes, timeoutMs, signal, ...asked } = question
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let length = 0
    let answer: Omit<Answer, 'text'> = { status: 0, date: undefined }
    let controller: Dispatcher.DispatchController | undefined
    let given: Error | undefined

    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
    }
    const fail = (error: Error) => {
      settle()
      reject(error)
    }
    const giveUp = (error: Error) => {
      given = error
      // Before that the call waits for its connection, and nothing has been sent.
      controller?.abort(error)
      fail(error)
    }
    const leave = () => giveUp(errorOf(signal?.reason))
    const timer = setTimeout(() => giveUp(new Error(`nothing within ${timeoutMs} ms`)), timeoutMs)
    signal?.addEventListener('abort', leave, { once: true })
    if (signal?.aborted) return leave()

    // One limit over all: undici's own ones begin anew with each part.
    pool.dispatch(
      { ...asked, headersTimeout: 0, bodyTimeout: 0 },
      {
        onRequestStart(begun) {
          controller = begun
          if (given !== undefined) begun.abort(given)
        },
        onResponseStart(_, status, { date }) {
          answer = { status, date }
        },
        onResponseData(_, chunk) {
          length += chunk.length
          if (length > limitBytes) giveUp(tooLarge(limitBytes))
          else chunks.push(chunk)
        },
        onResponseEnd() {
          settle()
          resolve({ ...answer, text: Buffer.concat(chunks, length).toString('utf8') })
        },
        onResponseError: (_, error) => fail(error)
      }
    )
  })
}

function errorOf(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('the caller has gone')
}
