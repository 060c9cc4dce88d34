import type { FastifyInstance } from 'fastify'
import { describeApi } from './openapi.ts'

export function openApiRoutes(about: { version: string }) {
  const text = JSON.stringify(describeApi(about))
  return async function openApiPlugin(app: FastifyInstance): Promise<void> {
    app.get('/openapi.json', (_request, reply) =>
      reply.type('application/json; charset=utf-8').send(text)
    )
  }
}
