/** The whole way of an admission through the real server, against the same framework that only echoes. */
import { compare, figureOf, type Report } from './harness.ts'
import { type LoadResult, load } from './load.ts'
import { admissionReview, largeHead, largeWorker } from './pods.ts'
import { startProcess } from './processes.ts'
import { openStage } from './stage.ts'
import { processorMs } from './usage.ts'

interface Round extends LoadResult {
  processorMs: number
}

const amount = 5000
const connections = 20

export async function run(report: Report): Promise<void> {
  const stage = await openStage()
  const echo = startProcess('echo-server')
  try {
    const server = await stage.serve(['webhook'])
    const port = await echo.call<number>('listen', stage.serving)
    const bodies = [largeHead(), largeWorker()].map(pod => JSON.stringify(admissionReview(pod)))
    const subject: Round[] = []
    const baseline: Round[] = []
    const measure = async (rounds: Round[], url: string, pid: number) => {
      const before = await processorMs(pid)
      const result = await load({ url, connections, amount, bodies })
      rounds.push({ ...result, processorMs: ((await processorMs(pid)) - before) / amount })
      return result.perSecond
    }
    report(
      await compare({
        name: '/mutate, 9 KB pods, 20 clients (fastify echo)',
        unit: '/s',
        rounds: 7,
        subject: () => measure(subject, `${server.webhookUrl}/mutate`, server.pid),
        baseline: () => measure(baseline, `https://127.0.0.1:${port}/echo`, echo.pid),
        target: { of: 'ratio', atLeast: 0.6 }
      })
    )
    const measured = (of: (round: Round) => number) => ({
      values: subject.slice(1).map(of),
      baselines: baseline.slice(1).map(of)
    })
    report(
      figureOf({
        name: '/mutate, p99 of the same (fastify echo)',
        unit: 'ms',
        ...measured(round => round.p99)
      })
    )
    report(
      figureOf({
        name: '/mutate, processor time a request (echo)',
        unit: 'ms',
        ...measured(round => round.processorMs)
      })
    )
  } finally {
    await echo.close()
    await stage.close()
  }
}
