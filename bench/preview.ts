/**
 * Dry runs, and what they cost the admissions of the same process: four clients send the largest and the worst texts that
 * are taken, without a pause.
 */
import { Agent, request } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import { p99, whileAdmitting } from './admitting.ts'
import { figureOf, quantile, type Report } from './harness.ts'
import { largeHead, largeWorker } from './pods.ts'
import { startProcess } from './processes.ts'
import { openStage, type Server } from './stage.ts'

const rounds = 3
const quietMs = 2000
const busyMs = 4000
const clients = 4

export async function run(report: Report): Promise<void> {
  const stage = await openStage()
  const admissions = startProcess('admissions')
  try {
    const server = await stage.serve(['webhook', 'preview'])
    const agent = new Agent({ keepAlive: true, ca: stage.servingCa.certificate })
    const small = stringify(largeHead())
    const waits: number[] = []
    for (let round = 0; round < 50; round += 1) {
      const start = performance.now()
      await dryRun(server, agent, small)
      waits.push(performance.now() - start)
    }
    report(
      figureOf({ name: 'dry run of a head, 9 KB', unit: 'ms', values: [quantile(waits, 0.5)] })
    )
    const quiet: number[] = []
    const busy: number[] = []
    const statuses = new Map<number, number>()
    for (let round = 0; round < rounds; round += 1) {
      quiet.push(p99(await whileAdmitting(stage, admissions, server, () => sleep(quietMs))))
      busy.push(
        p99(
          await whileAdmitting(stage, admissions, server, async () => {
            const end = performance.now() + busyMs
            await Promise.all(
              Array.from({ length: clients }, async (_, client) => {
                for (let turn = client; performance.now() < end; turn += 1) {
                  const status = await dryRun(server, agent, texts[turn % texts.length] ?? '')
                  statuses.set(status, (statuses.get(status) ?? 0) + 1)
                }
              })
            )
          })
        )
      )
    }
    report(
      figureOf({
        name: 'p99 of admissions during the worst dry runs (quiet)',
        unit: 'ms',
        values: busy,
        baselines: quiet,
        target: { of: 'value', atMost: 100 }
      })
    )
    for (const [status, count] of statuses)
      report(figureOf({ name: `dry runs answered with ${status}`, unit: 'times', values: [count] }))
  } finally {
    await admissions.close()
    await stage.close()
  }
}

/** Each about a MiB. */
const texts = [
  `${JSON.stringify(largeWorker())}\n`.repeat(100),
  stringify(largeHead()).concat('---\n').repeat(60),
  '- [0]\n'.repeat(170_000),
  '['.repeat(1_000_000),
  `kind: Pod\na: ${'&a [*a, '.repeat(100_000)}`,
  `kind: Pod\nspec: {${Array.from({ length: 60_000 }, (_, index) => `k${index}: ${index}`).join(', ')}}`
]

function dryRun({ previewUrl }: Server, agent: Agent, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const url = `${previewUrl}/dry-run?diff=true`
    const headers = { 'content-type': 'application/yaml' }
    request(url, { method: 'POST', agent, headers }, response => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
    })
      .on('error', reject)
      .end(body)
  })
}
