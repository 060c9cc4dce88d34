/** Probes, metrics and what `rayguard status` asks. Plain HTTP, nothing secret, on a port of its own. */
import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Readiness } from './readiness.ts'

export interface OpsOptions {
  readiness: Readiness
  metrics: Metrics
  /** What this process says of itself beside its readiness; public. */
  about?(): object
}

export function opsRoutes({ readiness, metrics, about }: OpsOptions) {
  return (app: FastifyInstance): void => {
    app.removeAllContentTypeParsers()
    // Alive is who answers. What else is missing would not come back by a restart.
    app.get('/livez', (_request, reply) => reply.type('text/plain').send('ok\n'))
    app.get('/readyz', (_request, reply) => {
      const report = readiness.report()
      return reply.code(report.ready ? 200 : 503).send(report)
    })
    // Always 200, because a proxy may keep the body of anything else to itself.
    app.get('/status', (_request, reply) => reply.send({ ...about?.(), ...readiness.report() }))
    app.get('/metrics', async (_request, reply) => {
      const text = await metrics.text()
      return reply.type(metrics.contentType).send(text)
    })
  }
}
