/** A socket whose every byte the test chooses, for clients that no HTTP library would play. */
import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

export interface RawConnection {
  socket: Socket
  send(text: string): void
  /** Resolves with everything received so far once `pattern` is in it; with what there was, when the connection ends. */
  until(pattern: RegExp): Promise<string>
  /** Resolves with everything received once the connection has ended. */
  ended(): Promise<string>
}

/** After the handshake. */
export async function openTls(port: number, options: ConnectionOptions): Promise<RawConnection> {
  const socket = connectTls({ host: '127.0.0.1', port, ...options })
  const connection = watch(socket)
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed before the handshake was done')))
  })
  return connection
}

export async function openTcp(port: number): Promise<RawConnection> {
  const socket = connectTcp({ host: '127.0.0.1', port })
  const connection = watch(socket)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  return connection
}

function watch(socket: Socket): RawConnection {
  let text = ''
  let over = false
  const listeners = new Set<() => void>()
  const tell = () => {
    for (const listener of [...listeners]) listener()
  }
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
    tell()
  })
  // A reset is one way to end.
  socket.on('error', () => {})
  socket.on('close', () => {
    over = true
    tell()
  })
  const when = (done: () => boolean) =>
    new Promise<string>(resolve => {
      const look = () => {
        if (!done() && !over) return
        listeners.delete(look)
        resolve(text)
      }
      listeners.add(look)
      look()
    })
  return {
    socket,
    send: sent => socket.write(sent),
    until: pattern => when(() => pattern.test(text)),
    ended: () => when(() => over)
  }
}
