/** From nothing to ready, and what it takes while nothing is asked: the real server against a Node that does nothing. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { compare, figureOf, type Report } from './harness.ts'
import { type Component, openStage } from './stage.ts'
import { residentMegabytes } from './usage.ts'

/** Idle memory is what is left when the start's garbage has gone. */
const idleMs = 1500

export async function run(report: Report): Promise<void> {
  const stage = await openStage()
  try {
    for (const components of [['webhook'], ['enrollment'], ['webhook', 'enrollment']] as const) {
      report(
        await compare({
          name: `start to ready, ${components.join(' + ')} (node -e 0)`,
          unit: 'ms',
          rounds: 5,
          async subject() {
            const server = await stage.serve([...components])
            await server.close()
            return server.readyMs
          },
          baseline: emptyNodeMs,
          target: { of: 'value', atMost: 500 }
        })
      )
    }
    const empty = await idleNodeMegabytes()
    for (const components of [['webhook'], ['enrollment'], ['webhook', 'enrollment']] as const) {
      const server = await stage.serve([...components] as Component[])
      await sleep(idleMs)
      report(
        figureOf({
          name: `resident when idle, ${components.join(' + ')} (node)`,
          unit: 'MiB',
          values: [await residentMegabytes(server.pid)],
          baselines: [empty],
          target: { of: 'value', atMost: 120 }
        })
      )
      await server.close()
    }
  } finally {
    await stage.close()
  }
}

export async function emptyNodeMs(): Promise<number> {
  const start = performance.now()
  const child = spawn(process.execPath, ['-e', '0'], { env: {}, stdio: 'ignore' })
  await once(child, 'exit')
  return performance.now() - start
}

async function idleNodeMegabytes(): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], {
    env: {},
    stdio: 'ignore'
  })
  await sleep(idleMs)
  const found = await residentMegabytes(child.pid ?? 0)
  child.kill()
  await once(child, 'exit')
  return found
}
