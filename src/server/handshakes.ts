import type { Server, Socket } from 'node:net'

export interface Pace {
  /** Handshakes that begin within one turn of the event loop. */
  perTurn: number
  /** Whose handshake has not begun within that time is cut. */
  waitMs: number
}

/**
 * Begins few TLS handshakes in each turn of the event loop; the others wait unread, in the order in which they came.
 *
 * A handshake is most of what a new client costs. Begun all at once, those of a burst are one long turn in which nobody else
 * is answered: an admission in the same process would wait for all of them. Attack: clients that begin a handshake and go no
 * further. They hold no place, and so keep nobody out.
 *
 * For a server of which Node's own listener for connections is the only one yet, made with `pauseOnConnect`.
 */
export function paceHandshakes(server: Server, { perTurn, waitMs }: Pace): void {
  const listeners = server.listeners('connection')
  const waiting = new Map<Socket, NodeJS.Timeout>()
  let begun = 0

  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    // Refused by who has looked before us.
    if (socket.destroyed) return
    if (begun < perTurn && waiting.size === 0) begin(socket)
    else wait(socket)
  })

  function begin(socket: Socket): void {
    if (begun === 0) setImmediate(nextTurn)
    begun += 1
    for (const listener of listeners) listener.call(server, socket)
  }

  function wait(socket: Socket): void {
    waiting.set(
      socket,
      setTimeout(() => socket.destroy(), waitMs)
    )
    socket.once('close', () => forget(socket))
  }

  function nextTurn(): void {
    begun = 0
    for (const socket of waiting.keys()) {
      if (begun === perTurn) return
      forget(socket)
      begin(socket)
    }
  }

  function forget(socket: Socket): void {
    clearTimeout(waiting.get(socket))
    waiting.delete(socket)
  }
}
