import type { IncomingMessage } from 'node:http'

export interface Bodies {
  /** Counts what arrives of a body, from now to its end. */
  watch(request: IncomingMessage): void
}

/**
 * Bounds the memory of all bodies that are on their way together. Attack: many clients that each send a large body but its
 * last bytes.
 *
 * What has arrived counts, not what is announced: announcing costs nothing, and would lock out the others. Whose body began
 * first is cut first: the API server sends a body in one go, so that the oldest is one that stalls.
 */
export function createBodies(
  maximumBytes: number,
  cut: (request: IncomingMessage) => void
): Bodies {
  // In the order in which they began.
  const underWay = new Map<IncomingMessage, number>()
  let total = 0

  return {
    watch(request) {
      underWay.set(request, 0)
      const end = () => forget(request)
      request.once('end', end)
      request.once('close', end)
      request.on('data', (chunk: Buffer | string) => {
        const before = underWay.get(request)
        if (before === undefined) return
        underWay.set(request, before + chunk.length)
        total += chunk.length
        while (total > maximumBytes) cutOldest()
      })
    }
  }

  function cutOldest(): void {
    const [oldest] = underWay.keys()
    if (oldest === undefined) return
    forget(oldest)
    cut(oldest)
  }

  function forget(request: IncomingMessage): void {
    total -= underWay.get(request) ?? 0
    underWay.delete(request)
  }
}
