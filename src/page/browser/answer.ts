/**
 * What the server answers, and how it is asked.
 */
import type { DryRunAnswer, DryRunError } from '../../preview/schemas.ts'

/** With a place where the text has one. */
export type Problem = Pick<DryRunError, 'message' | 'line' | 'column'>

export interface Modes {
  profile: string
  tls: string
}

export async function askFor(
  text: string,
  modes: Modes,
  signal: AbortSignal
): Promise<DryRunAnswer | { problem: Problem }> {
  const address = new URL('dry-run', document.baseURI)
  address.search = new URLSearchParams({ output: 'json', diff: 'true', ...modes }).toString()
  let response: Response
  try {
    response = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'text/yaml', accept: 'application/json' },
      body: text,
      signal,
      credentials: 'same-origin',
      redirect: 'error'
    })
  } catch (error) {
    if (signal.aborted) throw error
    return { problem: { message: `${address.origin} did not answer. Is it still running?` } }
  }
  const body: unknown = await response.json().catch(() => undefined)
  signal.throwIfAborted()
  if (response.ok && isAnswer(body)) return body
  return { problem: problemOf(body, response.status) }
}

function isAnswer(body: unknown): body is DryRunAnswer {
  return isObject(body) && Array.isArray(body.results)
}

function problemOf(body: unknown, status: number): Problem {
  if (!isObject(body) || typeof body.message !== 'string') {
    return { message: `The server answered with status ${status} and without a reason.` }
  }
  const { message, line, column } = body
  return typeof line === 'number' && typeof column === 'number'
    ? { message, line, column }
    : { message }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
