import autocannon from 'autocannon'
import { quantile } from './harness.ts'

export interface LoadOptions {
  url: string
  connections: number
  /** Requests in all. */
  amount: number
  bodies: readonly string[]
}

export interface LoadResult {
  perSecond: number
  /** Milliseconds. */
  p99: number
}

/** POSTs of JSON over kept-alive connections. Throws unless every answer is 2xx. */
export async function load({ url, connections, amount, bodies }: LoadOptions): Promise<LoadResult> {
  const waits: number[] = []
  let start = performance.now()
  let end = start
  const requests = bodies.map(body => ({
    method: 'POST' as const,
    headers: { 'content-type': 'application/json' },
    body
  }))
  const result = await new Promise<autocannon.Result>((resolve, reject) => {
    const running = autocannon({ url, connections, amount, requests }, (error, found) =>
      error ? reject(error) : resolve(found)
    )
    running.once('start', () => {
      start = performance.now()
    })
    // Its own clock has whole seconds for the duration and whole milliseconds for the latency.
    running.on('response', (_client, _status, _bytes, milliseconds) => {
      end = performance.now()
      waits.push(milliseconds)
    })
  })
  if (result['2xx'] !== amount) {
    throw new Error(
      `${url}: ${result['2xx']} of ${amount} requests succeeded; ${result.errors} errors, ` +
        `${JSON.stringify(result.statusCodeStats)}`
    )
  }
  return { perSecond: (amount / (end - start)) * 1000, p99: quantile(waits, 0.99) }
}
