import type { Server, Socket } from 'node:net'

export interface Connections {
  /** Cuts every connection. */
  cut(): void
}

/**
 * Keeps one address from taking all connections. Attack: a pod that opens as many as the listener has; the others find none
 * left. Counted before the handshake, which is what costs.
 */
export function watchConnections(
  server: Server,
  { perAddress, onRefused }: { perAddress: number; onRefused(): void }
): Connections {
  const open = new Set<Socket>()
  const byAddress = new Map<string, number>()

  server.on('drop', onRefused)
  // Before those who begin handshakes.
  server.prependListener('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? ''
    const already = byAddress.get(address) ?? 0
    if (already >= perAddress) {
      onRefused()
      socket.destroy()
      return
    }
    byAddress.set(address, already + 1)
    open.add(socket)
    socket.once('close', () => {
      open.delete(socket)
      const left = (byAddress.get(address) ?? 1) - 1
      if (left > 0) byAddress.set(address, left)
      else byAddress.delete(address)
    })
  })

  return {
    cut() {
      // By hand: Node's closeAllConnections leaves those alone that have not finished their handshake.
      for (const socket of open) socket.destroy()
    }
  }
}
