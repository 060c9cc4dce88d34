import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'

/**
 * Addresses of this machine, as many as asked for, that a process can send from: they play the addresses of pods.
 *
 * Linux answers for all of 127.0.0.0/8; macOS for 127.0.0.1 and ::1 alone, so its network interfaces help out.
 */
export async function addressesOfPods(count: number): Promise<string[]> {
  const wanted = Array.from({ length: count }, (_, index) => `127.0.0.${index + 11}`)
  const others = Object.values(networkInterfaces())
    .flatMap(entries => entries ?? [])
    .filter(entry => !entry.address.startsWith('fe80'))
    .map(entry => entry.address)
  const found: string[] = []
  for (const address of new Set([...wanted, ...others, '::1'])) {
    if (found.length < count && (await usable(address))) found.push(address)
  }
  if (found.length === count) return found
  throw new Error(
    `The demonstration needs ${count} addresses of this machine to play pods, and found ${found.length}. Connect a network, or add a loopback alias (macOS: sudo ifconfig lo0 alias 127.0.0.11).`
  )
}

function usable(address: string): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: address, port: 0 }, () => server.close(() => resolve(true)))
  })
}

/** A port that was free a moment ago. */
export function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ host, port: 0 }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
