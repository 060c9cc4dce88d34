import autocannon from 'autocannon'

export interface LoadOptions {
  url: string
  connections: number
  /** Requests in all. */
  amount: number
  bodies: readonly string[]
}

export interface LoadResult {
  perSecond: number
  /** Milliseconds; autocannon counts whole ones. */
  p99: number
}

/** POSTs of JSON over kept-alive connections. Throws unless every answer is 2xx. */
export async function load({ url, connections, amount, bodies }: LoadOptions): Promise<LoadResult> {
  const start = performance.now()
  const result = await autocannon({
    url,
    connections,
    amount,
    requests: bodies.map(body => ({
      method: 'POST' as const,
      headers: { 'content-type': 'application/json' },
      body
    }))
  })
  const seconds = (performance.now() - start) / 1000
  if (result['2xx'] !== amount) {
    throw new Error(
      `${url}: ${result['2xx']} of ${amount} requests succeeded; ${result.errors} errors, ` +
        `${JSON.stringify(result.statusCodeStats)}`
    )
  }
  // Its own duration is counted in whole steps of its sampling timer.
  return { perSecond: amount / seconds, p99: result.latency.p99 }
}
