/** The least that an admission over HTTPS can cost with the same framework: fastify, JSON in, the same JSON out. */
import type { AddressInfo } from 'node:net'
import fastify from 'fastify'
import type { ServingPair } from '../certificates.ts'
import { serveParent } from '../processes.ts'

serveParent({
  async listen({ certificate, privateKey }: ServingPair): Promise<number> {
    const app = fastify({
      https: { cert: certificate, key: privateKey, minVersion: 'TLSv1.2' },
      bodyLimit: 7 * 1024 * 1024
    })
    app.post('/echo', async request => request.body)
    await app.listen({ host: '127.0.0.1', port: 0 })
    return (app.server.address() as AddressInfo).port
  }
})
