/** A server in front of a slow one: each request waits, then goes on to the real one as it is. */
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import type { ServingPair } from '../certificates.ts'
import { serveParent } from '../processes.ts'

interface Options extends ServingPair {
  /** PEM: of the real server. */
  ca: string
  to: string
  delayMs: number
}

serveParent({
  async listen({ certificate, privateKey, ca, to, delayMs }: Options): Promise<number> {
    const pool = new Pool(to, { connections: 64, connect: { ca } })
    const server = createServer(
      { cert: certificate, key: privateKey, keepAliveTimeout: 60_000 },
      async (request, response) => {
        await sleep(delayMs)
        const { host: _, connection: __, ...headers } = request.headers
        const body = request.method === 'GET' ? null : request
        const { method = 'GET', url: path = '/' } = request
        const answer = await pool.request({ method: method as 'GET', path, headers, body })
        response.writeHead(answer.statusCode, { 'content-type': 'application/json' })
        answer.body.pipe(response)
      }
    )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  }
})
