/** The whole way of an admission through the real server, against the same framework that only echoes. */
import { compare, figureOf, type Report } from './harness.ts'
import { type LoadResult, load } from './load.ts'
import { admissionReview, largeHead, largeWorker } from './pods.ts'
import { startProcess } from './processes.ts'
import { openStage } from './stage.ts'

const amount = 5000
const connections = 20

export async function run(report: Report): Promise<void> {
  const stage = await openStage()
  const echo = startProcess('echo-server')
  try {
    const server = await stage.serve(['webhook'])
    const port = await echo.call<number>('listen', stage.serving)
    const bodies = [largeHead(), largeWorker()].map(pod => JSON.stringify(admissionReview(pod)))
    const p99: Record<'subject' | 'baseline', number[]> = { subject: [], baseline: [] }
    const measure = async (which: 'subject' | 'baseline', url: string) => {
      const result: LoadResult = await load({ url, connections, amount, bodies })
      p99[which].push(result.p99)
      return result.perSecond
    }
    report(
      await compare({
        name: '/mutate, 9 KB pods, 20 clients (fastify echo)',
        unit: '/s',
        rounds: 7,
        subject: () => measure('subject', `${server.webhookUrl}/mutate`),
        baseline: () => measure('baseline', `https://127.0.0.1:${port}/echo`),
        target: { of: 'ratio', atLeast: 0.6 }
      })
    )
    report(
      figureOf({
        name: '/mutate, p99 of the same (fastify echo)',
        unit: 'ms',
        values: p99.subject.slice(1),
        baselines: p99.baseline.slice(1)
      })
    )
  } finally {
    await echo.close()
    await stage.close()
  }
}
