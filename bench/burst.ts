/**
 * A thousand pods at once, as when a large RayCluster starts: are all served, how soon, and do admissions go on meanwhile?
 *
 * Server, pods, API server's admissions and the stand-in for the Kubernetes API are processes of their own; all of them
 * share the machine, so that on two cores the server has about a third of it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { certificatesPath } from '../src/contract/enrollment.ts'
import { podAddress } from './burst-pods.ts'
import { figureOf, quantile, type Report } from './harness.ts'
import { admissionReview, cluster, largeHead, largeWorker, runningWorker } from './pods.ts'
import type { Burst, BurstPod } from './processes/pods.ts'
import { type Remote, startProcess } from './processes.ts'
import { injectionSettings } from './settings.ts'
import { openStage, type Server, type Stage } from './stage.ts'

const podCount = 1000
const rounds = 3
/** Ray clusters of this size are made at some tens of pods a second. */
const admissionsPerSecond = 50
const quietMs = 3000

export async function run(report: Report): Promise<void> {
  await measure(report, 'two processes', async stage => {
    const enrollment = await stage.serve(['enrollment'])
    const webhook = await stage.serve(['webhook'], { enrollmentUrl: enrollment.enrollmentUrl })
    return { webhook, enrollment }
  })
  await measure(report, 'one process', async stage => {
    const server = await stage.serve(['webhook', 'enrollment'])
    return { webhook: server, enrollment: server }
  })
}

interface Servers {
  webhook: Server
  enrollment: Server
}

async function measure(
  report: Report,
  form: string,
  serve: (stage: Stage) => Promise<Servers>
): Promise<void> {
  const stage = await openStage()
  const client = startProcess('pods')
  const admissions = startProcess('admissions')
  try {
    const servers = await serve(stage)
    await stage.put([cluster])
    const bursts: Burst[] = []
    const quiet: number[] = []
    const busy: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      const pods = await createPods(stage, client, servers, round)
      quiet.push(
        p99(await whileAdmitting(stage, admissions, servers.webhook, () => sleep(quietMs)))
      )
      const waits = await whileAdmitting(stage, admissions, servers.webhook, async () => {
        bursts.push(await burst(stage, client, servers.enrollment, pods))
      })
      busy.push(p99(waits))
    }
    reportBursts(report, form, bursts)
    report(
      figureOf({
        name: `admission p99 during it, ${form} (quiet)`,
        unit: 'ms',
        values: busy,
        baselines: quiet,
        target: { of: 'value', atMost: 100 }
      })
    )
  } finally {
    await Promise.all([client.close(), admissions.close()])
    await stage.close()
  }
}

function reportBursts(report: Report, form: string, bursts: Burst[]): void {
  const sum = (counts: Record<string, number>) =>
    Object.values(counts).reduce((total, count) => total + count, 0)
  for (const { again, failed } of bursts) {
    if (sum(again) + sum(failed) > 0) {
      process.stderr.write(
        `${form}: again ${JSON.stringify(again)} failed ${JSON.stringify(failed)}\n`
      )
    }
  }
  const seconds = bursts.map(burst => burst.seconds)
  report(
    figureOf({ name: `${podCount} pods at once, ${form}: all served`, unit: 's', values: seconds })
  )
  report(
    figureOf({
      name: `${podCount} pods at once, ${form}: median pod`,
      unit: 's',
      values: bursts.map(({ waits }) => quantile(waits, 0.5) / 1000)
    })
  )
  report(
    figureOf({
      name: `${podCount} pods at once, ${form}: not served`,
      unit: 'pods',
      values: [Math.max(...bursts.map(({ failed }) => sum(failed)))],
      target: { of: 'value', atMost: 0 }
    })
  )
}

/** New pods in each round: a pod that has a certificate would not ask for another. */
async function createPods(
  stage: Stage,
  client: Remote,
  { enrollment }: Servers,
  round: number
): Promise<BurstPod[]> {
  const settings = injectionSettings({
    url: enrollment.enrollmentUrl,
    ca: stage.servingCa.certificate
  })
  const addresses = Array.from({ length: podCount }, (_, at) => podAddress(round * podCount + at))
  const tokens = await stage.put(
    addresses.map((address, at) =>
      runningWorker(`demo-small-worker-${round}-${at}`, address, settings)
    )
  )
  await client.call('prepare', addresses)
  return addresses.map((address, at) => ({ address, token: tokens[at] ?? '' }))
}

function burst(
  stage: Stage,
  client: Remote,
  { enrollmentUrl }: Server,
  pods: BurstPod[]
): Promise<Burst> {
  return client.call<Burst>('burst', {
    url: `${enrollmentUrl}${certificatesPath}`,
    ca: stage.servingCa.certificate,
    pods
  })
}

async function whileAdmitting(
  stage: Stage,
  admissions: Remote,
  { webhookUrl }: Server,
  work: () => Promise<unknown>
): Promise<number[]> {
  await admissions.call('start', {
    url: `${webhookUrl}/mutate`,
    ca: stage.servingCa.certificate,
    bodies: [largeHead(), largeWorker()].map(pod => JSON.stringify(admissionReview(pod))),
    perSecond: admissionsPerSecond
  })
  await work()
  return admissions.call<number[]>('stop')
}

function p99(waits: number[]): number {
  return quantile(waits, 0.99)
}
